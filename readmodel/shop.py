"""The tables of the projection `shop`: users, products and orders, as GET requests answer them.

Money is NUMERIC without a scale: PostgreSQL keeps the decimals that a value was written with, so "2.50" stays "2.50".
"""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from readmodel.base import add_report, checkpoint_of, parked_of, read_metadata, table_of
from readmodel.types import ID, MONEY, TIME


class Base(DeclarativeBase):
    metadata = read_metadata("shop", 1, "users, products and orders as they are now; a fold of the log")


class User(Base):
    __tablename__ = "users"
    __table_args__ = {"comment": "registered users; a deleted user stays, because orders refer to it"}

    id: Mapped[UUID] = mapped_column(ID, primary_key=True, comment="a UUIDv7")
    external_id: Mapped[str | None] = mapped_column(sa.Text, comment="the caller's own key of the user")
    name: Mapped[str] = mapped_column(sa.Text, comment="as the user wants to be called")
    email: Mapped[str] = mapped_column(sa.Text, comment="as it was sent")
    email_key: Mapped[str] = mapped_column(sa.Text, comment="the address as it is compared: without regard to case")
    version: Mapped[int] = mapped_column(sa.Integer, comment="how many events it has had")
    created_at: Mapped[datetime] = mapped_column(TIME, comment="when the user registered")
    updated_at: Mapped[datetime] = mapped_column(TIME, comment="when the user last changed")
    deleted_at: Mapped[datetime | None] = mapped_column(TIME, comment="when the user was deleted; null: was not")

    orders: Mapped[list["Order"]] = relationship(back_populates="user")


class Product(Base):
    __tablename__ = "products"
    __table_args__ = (
        sa.CheckConstraint("price >= 0", name="price_check"),
        sa.CheckConstraint("stock >= 0", name="stock_check"),
        {"comment": "the catalogue, with stock"},
    )

    id: Mapped[UUID] = mapped_column(ID, primary_key=True, comment="a UUIDv7")
    sku: Mapped[str] = mapped_column(sa.Text, comment="the caller's own key of the product")
    name: Mapped[str] = mapped_column(sa.Text, comment="as it is called now")
    price: Mapped[Decimal] = mapped_column(MONEY, comment="of one piece, now")
    currency: Mapped[str] = mapped_column(sa.Text, comment="of the price: an ISO 4217 code")
    stock: Mapped[int | None] = mapped_column(sa.BigInteger, comment="null: not kept in stock")
    discontinued: Mapped[bool] = mapped_column(comment="true: it can no longer be ordered")
    version: Mapped[int] = mapped_column(sa.Integer, comment="how many events it has had")
    created_at: Mapped[datetime] = mapped_column(TIME, comment="when it was added")
    updated_at: Mapped[datetime] = mapped_column(TIME, comment="when it last changed, its stock included")


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (
        sa.CheckConstraint("status IN ('placed', 'partially_cancelled', 'cancelled')", name="status_check"),
        sa.CheckConstraint("cancelled_total BETWEEN 0 AND total", name="cancelled_total_check"),
        {"comment": "orders; their lines are in order_items"},
    )

    id: Mapped[UUID] = mapped_column(ID, primary_key=True, comment="a UUIDv7")
    external_id: Mapped[str | None] = mapped_column(sa.Text, comment="the caller's own key of the order")
    user_id: Mapped[UUID] = mapped_column(ID, sa.ForeignKey(User.id), comment="who ordered")
    status: Mapped[str] = mapped_column(sa.Text, comment="placed, partially_cancelled or cancelled")
    currency: Mapped[str] = mapped_column(sa.Text, comment="of all its amounts: an ISO 4217 code")
    total: Mapped[Decimal] = mapped_column(MONEY, comment="as placed; it never changes")
    cancelled_total: Mapped[Decimal] = mapped_column(MONEY, comment="how much of the total was cancelled")
    note: Mapped[str | None] = mapped_column(sa.Text, comment="what the buyer wrote")
    cancel_reason: Mapped[str | None] = mapped_column(sa.Text, comment="why it was cancelled last")
    placed_at: Mapped[datetime] = mapped_column(TIME, comment="when it was placed")
    cancelled_at: Mapped[datetime | None] = mapped_column(
        TIME, comment="when the last piece was cancelled; null: some are left"
    )
    line_count: Mapped[int] = mapped_column(sa.SmallInteger, comment="how many lines it has: it bounds pages of orders")
    version: Mapped[int] = mapped_column(sa.Integer, comment="how many events it has had")
    updated_at: Mapped[datetime] = mapped_column(TIME, comment="when it last changed")

    user: Mapped[User] = relationship(back_populates="orders")
    items: Mapped[list["OrderItem"]] = relationship(back_populates="order", order_by="OrderItem.line")


class OrderItem(Base):
    __tablename__ = "order_items"
    __table_args__ = (
        sa.CheckConstraint("cancelled_quantity BETWEEN 0 AND quantity", name="cancelled_quantity_check"),
        {"comment": "the lines of orders"},
    )

    order_id: Mapped[UUID] = mapped_column(ID, sa.ForeignKey(Order.id), primary_key=True, comment="the order")
    line: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True, comment="number in the order: 1, 2, 3")
    product_id: Mapped[UUID] = mapped_column(ID, sa.ForeignKey(Product.id), comment="the product")
    sku: Mapped[str] = mapped_column(sa.Text, comment="of the product when the order was placed")
    name: Mapped[str] = mapped_column(sa.Text, comment="of the product when the order was placed")
    quantity: Mapped[int] = mapped_column(sa.Integer, comment="pieces ordered")
    cancelled_quantity: Mapped[int] = mapped_column(sa.Integer, comment="pieces of those that were cancelled")
    unit_price: Mapped[Decimal] = mapped_column(MONEY, comment="of one piece when the order was placed")
    amount: Mapped[Decimal] = mapped_column(MONEY, comment="quantity times unit_price, as placed; it never changes")
    placed_at: Mapped[datetime] = mapped_column(TIME, comment="of the order; here for the index by product and time")

    order: Mapped[Order] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()


# The plain tables, for statements that are put together column by column.
users, products, orders, order_items = map(table_of, (User, Product, Order, OrderItem))
METADATA = Base.metadata
checkpoint, parked = checkpoint_of(METADATA), parked_of(METADATA)

# The indexes serve every documented filter and sort, and are as few as will do: each costs the projection with every
# row. Lists are read in keyset order, so an index ends with the id. The write side keeps addresses unique: here
# a deleted user may have the same one as the new user who took it. tests/query/test_plans.py tests the plans.
#
# Left without an index of its own, on purpose:
# - an order's other filters beside the one that leads: the planner either walks the sort's index until a page is full,
#   or fetches and sorts what the rarest filter leaves. At k matches among n orders that reads at most the smaller of k
#   and page * n / k rows. A user's or a product's orders by total are always fetched and sorted: all k rows,
#   or those within the `placed_at` range that was asked for.
# - products.in_stock: `stock` changes with every order, and an index on it would turn each of those updates from one in
#   place (HOT) into one that touches all indexes. A catalogue is walked instead: it does not grow with the orders.
sa.Index("users_created_at_idx", users.c.created_at, users.c.id, postgresql_where=users.c.deleted_at.is_(None))
sa.Index("users_email_key_idx", users.c.email_key)
sa.Index("users_external_id_idx", users.c.external_id, postgresql_where=users.c.external_id.is_not(None))

sa.Index("products_sku_idx", products.c.sku, products.c.id)
sa.Index("products_name_idx", products.c.name, products.c.id)
sa.Index("products_price_idx", products.c.price, products.c.id)
sa.Index("products_discontinued_idx", products.c.sku, products.c.id, postgresql_where=products.c.discontinued)

sa.Index("orders_placed_at_idx", orders.c.placed_at, orders.c.id)
sa.Index("orders_total_idx", orders.c.total, orders.c.id)
sa.Index("orders_user_id_idx", orders.c.user_id, orders.c.placed_at, orders.c.id)
sa.Index("orders_external_id_idx", orders.c.external_id, postgresql_where=orders.c.external_id.is_not(None))

# Most orders stay as placed: the indexes by time and by total serve those. These hold the others:
# two with the status as first column, two without.
_was_cancelled = orders.c.status != sa.literal_column("'placed'")
sa.Index(
    "orders_cancelled_placed_at_idx", orders.c.status, orders.c.placed_at, orders.c.id, postgresql_where=_was_cancelled
)
sa.Index("orders_cancelled_total_idx", orders.c.status, orders.c.total, orders.c.id, postgresql_where=_was_cancelled)
sa.Index("orders_any_cancelled_placed_at_idx", orders.c.placed_at, orders.c.id, postgresql_where=_was_cancelled)
sa.Index("orders_any_cancelled_total_idx", orders.c.total, orders.c.id, postgresql_where=_was_cancelled)

sa.Index("order_items_product_id_idx", order_items.c.product_id, order_items.c.placed_at, order_items.c.order_id)

add_report(
    METADATA,
    "order_lines",
    "each line of each order, with the names of buyer and product",
    sa.select(
        order_items.c.order_id,
        order_items.c.line,
        order_items.c.placed_at,
        orders.c.status,
        orders.c.user_id,
        users.c.name.label("user_name"),
        order_items.c.product_id,
        order_items.c.sku,
        order_items.c.name.label("product_name"),
        order_items.c.quantity,
        order_items.c.cancelled_quantity,
        orders.c.currency,
        order_items.c.unit_price,
        order_items.c.amount,
        (order_items.c.unit_price * (order_items.c.quantity - order_items.c.cancelled_quantity)).label("net_amount"),
    ).select_from(order_items.join(orders).join(users)),
    user_name="of who ordered, now",
    product_name="when the order was placed",
    net_amount="amount without what was cancelled since",
)
