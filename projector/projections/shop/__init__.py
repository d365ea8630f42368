"""The projection `shop`: users, products and orders as GET requests answer them."""

from eventlog.events import (
    OrderCancelled,
    OrderLinesCancelled,
    OrderPlaced,
    ProductAdded,
    ProductChanged,
    ProductDiscontinued,
    ProductRepriced,
    StockAdjusted,
    StockReleased,
    StockReserved,
    UserChanged,
    UserDeleted,
    UserRegistered,
)
from projector.projection import Projection
from projector.projections.shop import orders, products, users
from readmodel.shop import Order, OrderItem, Product, User

SHOP = Projection(
    tables=(User, Product, Order, OrderItem),
    on={
        UserRegistered: users.registered,
        UserChanged: users.changed,
        UserDeleted: users.deleted,
        ProductAdded: products.added,
        ProductChanged: products.renamed,
        ProductRepriced: products.repriced,
        ProductDiscontinued: products.discontinued,
        StockAdjusted: products.stock_changed,
        StockReserved: products.stock_changed,
        StockReleased: products.stock_changed,
        OrderPlaced: orders.placed,
        OrderLinesCancelled: orders.lines_cancelled,
        OrderCancelled: orders.cancelled,
    },
)
