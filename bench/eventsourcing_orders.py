"""The same three events through the package `eventsourcing`, in the way of its documentation, on PostgreSQL.

An order is saved together with its two products in one transaction. The settings are the fastest that the package
offers: aggregates stay in its cache (no events are read for a product met before), statements are prepared, and
database functions, when switched on, spare round trips.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection

TRIES_MAX = 20

VIEW = """
CREATE TABLE IF NOT EXISTS shop_products (id uuid PRIMARY KEY, sku text, name text, price numeric, stock bigint);
CREATE TABLE IF NOT EXISTS shop_orders (id uuid PRIMARY KEY, user_id uuid, currency text, total numeric);
CREATE TABLE IF NOT EXISTS shop_items (
    order_id uuid, line integer, product_id uuid, sku text, name text, quantity integer, unit_price numeric,
    amount numeric, PRIMARY KEY (order_id, line))
"""


class OutOfStock(Exception):
    """There is not as much left."""


class Product(Aggregate):
    @event("Added")
    def __init__(self, sku: str, name: str, price: str, stock: int) -> None:
        self.sku = sku
        self.name = name
        self.price = price
        self.stock = stock

    def reserve(self, order_id: UUID, quantity: int) -> None:
        if self.stock < quantity:
            raise OutOfStock(self.sku)
        self._reserve(str(order_id), quantity, self.stock - quantity)

    @event("StockReserved")
    def _reserve(self, order_id: str, quantity: int, stock_after: int) -> None:
        self.stock = stock_after


class Order(Aggregate):
    @event("Placed")
    def __init__(self, user_id: str, currency: str, total: str, items: list[dict[str, object]]) -> None:
        self.user_id = user_id
        self.currency = currency
        self.total = total
        self.items = items


class Shop(Application[UUID]):
    """The application: what a route would call."""

    def add_product(self, number: int) -> UUID:
        product = Product(f"SKU-{number:06}", f"Product {number:06}", "100.50", 1_000_000_000)
        self.save(product)
        return UUID(str(product.id))

    def place_order(self, user_id: str, wanted: Mapping[UUID, int]) -> UUID:
        """Place an order; when another thread was faster with one of its products, again."""
        for _ in range(TRIES_MAX):
            products: list[Product] = [self.repository.get(product_id) for product_id in wanted]
            items: list[dict[str, object]] = [
                {
                    "line": line,
                    "product_id": str(product.id),
                    "sku": product.sku,
                    "name": product.name,
                    "quantity": quantity,
                    "unit_price": product.price,
                    "amount": product.price,
                }
                for line, (product, quantity) in enumerate(zip(products, wanted.values(), strict=True), 1)
            ]
            order = Order(user_id, "EUR", "201.00", items)
            for product, quantity in zip(products, wanted.values(), strict=True):
                product.reserve(order.id, quantity)
            try:
                self.save(order, *products)
            except IntegrityError:
                continue
            return UUID(str(order.id))
        raise RuntimeError(f"an order was overtaken {TRIES_MAX} times")


class OrdersView(PostgresTrackingRecorder):
    """Tables of orders, items and products; each event's rows and its position in one transaction."""

    def create_table(self) -> None:
        super().create_table()
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute(VIEW)

    def write(self, tracking: Tracking, *statements: tuple[str, Sequence[object]]) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            for statement, parameters in statements:
                cursor.execute(statement, parameters, prepare=True)
            self._insert_tracking(cursor, tracking)


class OrdersProjection(Projection[OrdersView]):
    """What becomes of the tables."""

    name = "orders"
    topics = ()

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.insert_tracking(tracking)

    @process_event.register
    def added(self, happened: Product.Added, tracking: Tracking) -> None:  # type: ignore[name-defined]
        values = (happened.originator_id, happened.sku, happened.name, happened.price, happened.stock)
        self.view.write(tracking, ("INSERT INTO shop_products VALUES (%s, %s, %s, %s, %s)", values))

    @process_event.register
    def reserved(self, happened: Product.StockReserved, tracking: Tracking) -> None:  # type: ignore[name-defined]
        values = (happened.stock_after, happened.originator_id)
        self.view.write(tracking, ("UPDATE shop_products SET stock = %s WHERE id = %s", values))

    @process_event.register
    def placed(self, happened: Order.Placed, tracking: Tracking) -> None:  # type: ignore[name-defined]
        order = (happened.originator_id, happened.user_id, happened.currency, happened.total)
        items = [(happened.originator_id, *item.values()) for item in happened.items]
        self.view.write(
            tracking,
            ("INSERT INTO shop_orders VALUES (%s, %s, %s, %s)", order),
            *(("INSERT INTO shop_items VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", item) for item in items),
        )


def environment(database_url: str, *, threads: int, functions: bool) -> dict[str, str]:
    """The package's settings for a database."""
    parts = urlsplit(database_url)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    # No other process changes the cached aggregates, so the cache needs neither updates nor copies.
    alone = "y" if threads == 1 else "n"
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.lstrip("/"),
        "POSTGRES_HOST": options["host"],
        "POSTGRES_PORT": options["port"],
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": "trusted",
        "POSTGRES_POOL_SIZE": str(threads),
        "POSTGRES_MAX_OVERFLOW": "5",
        "POSTGRES_ENABLE_DB_FUNCTIONS": "y" if functions else "n",
        "AGGREGATE_CACHE_MAXSIZE": "10000",
        "AGGREGATE_CACHE_FASTFORWARD": "n" if alone == "y" else "y",
        "DEEPCOPY_FROM_AGGREGATE_CACHE": "n" if alone == "y" else "y",
    }
