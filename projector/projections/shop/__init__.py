"""The projection `shop`: users, products and orders as GET requests answer them."""

from eventlog import events
from projector.projection import Projection
from projector.projections.shop import orders, products, users
from readmodel.shop import Order, OrderItem, Product, User

SHOP = Projection(
    tables=(User, Product, Order, OrderItem),
    on={
        events.UserRegistered: users.registered,
        events.UserChanged: users.changed,
        events.UserDeleted: users.deleted,
        events.ProductAdded: products.added,
        events.ProductChanged: products.renamed,
        events.ProductRepriced: products.repriced,
        events.ProductDiscontinued: products.discontinued,
        events.StockAdjusted: products.stock_changed,
        events.StockReserved: products.stock_changed,
        events.StockReleased: products.stock_changed,
        events.OrderPlaced: orders.placed,
        events.OrderLinesCancelled: orders.lines_cancelled,
        events.OrderCancelled: orders.cancelled,
    },
)
