"""The tables of the projection `sales`: what was sold and cancelled, by day and product."""

from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, Date, Index, Text, and_, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from readmodel.base import add_report, read_metadata, table_of
from readmodel.types import ID, MONEY


class Base(DeclarativeBase):
    metadata = read_metadata("sales", 1, "what was sold and cancelled, by day; a fold of the log")


class DailySales(Base):
    """Sales of a product on a day, and cancellations on that day, whenever the pieces were sold."""

    __tablename__ = "daily_sales"
    __table_args__ = {"comment": "sales by day (UTC), product and currency"}

    day: Mapped[date] = mapped_column(Date, primary_key=True, comment="in UTC")
    product_id: Mapped[UUID] = mapped_column(ID, primary_key=True, comment="the product")
    sku: Mapped[str] = mapped_column(Text, primary_key=True, comment="as it was when the order was placed")
    currency: Mapped[str] = mapped_column(Text, primary_key=True, comment="of the amounts: an ISO 4217 code")
    orders: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="orders placed with the product")
    quantity: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="pieces ordered")
    gross: Mapped[Decimal] = mapped_column(MONEY, server_default="0.00", comment="amount ordered")
    cancelled_quantity: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="pieces cancelled")
    cancelled: Mapped[Decimal] = mapped_column(MONEY, server_default="0.00", comment="amount cancelled")


class DailyOrders(Base):
    """How many orders were placed on a day. An order of three products is one order here."""

    __tablename__ = "daily_orders"
    __table_args__ = {"comment": "orders placed, by day (UTC) and currency"}

    day: Mapped[date] = mapped_column(Date, primary_key=True, comment="in UTC")
    currency: Mapped[str] = mapped_column(Text, primary_key=True, comment="of the orders: an ISO 4217 code")
    orders: Mapped[int] = mapped_column(BigInteger, comment="orders placed on the day")


daily_sales, daily_orders = map(table_of, (DailySales, DailyOrders))

# The primary key serves ranges of days. These serve one product over all days, and a currency that is rare or absent.
Index("daily_sales_product_id_idx", daily_sales.c.product_id, daily_sales.c.day)
Index(
    "daily_sales_currency_idx",
    *(daily_sales.c.currency, daily_sales.c.day, daily_sales.c.product_id, daily_sales.c.sku),
)

add_report(
    Base.metadata,
    "revenue_by_day",
    "what was ordered and cancelled on each day (UTC), by currency",
    select(
        daily_sales.c.day,
        daily_sales.c.currency,
        func.coalesce(daily_orders.c.orders, 0).label("orders"),
        *(func.sum(daily_sales.c[it]).label(it) for it in ("quantity", "gross", "cancelled_quantity", "cancelled")),
        (func.sum(daily_sales.c.gross) - func.sum(daily_sales.c.cancelled)).label("net"),
    )
    .select_from(
        daily_sales.outerjoin(
            daily_orders,
            and_(daily_orders.c.day == daily_sales.c.day, daily_orders.c.currency == daily_sales.c.currency),
        )
    )
    .group_by(daily_sales.c.day, daily_sales.c.currency, daily_orders.c.orders),
    orders="orders placed on the day",
    quantity="pieces ordered on the day",
    gross="amount ordered on the day",
    cancelled_quantity="pieces cancelled on the day, whenever they were ordered",
    cancelled="amount cancelled on the day, whenever it was ordered",
    net="gross less cancelled",
)
