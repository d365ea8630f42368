"""The projection `shop`: users, products and orders as GET requests answer them. `ON` of each file has its handlers."""

from projector.projection import Projection
from projector.projections.shop import orders, products, users
from readmodel.shop import Order, OrderItem, Product, User

SHOP = Projection(tables=(User, Product, Order, OrderItem), on={**users.ON, **products.ON, **orders.ON})
