"""Driving the writer in process, and looking at the log behind its back."""

import contextlib
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import psycopg

from command.domain.placing import WantedLine
from command.orders import PlaceOrder, ProductRef
from command.placed_orders import CancelOrder
from command.products import AddProduct, AdjustStock
from command.submission import Answer, Command, Key, Submission
from command.users import RegisterUser
from command.writer import Writer
from eventlog.codec import encode
from eventlog.ids import new_id
from tests.checker.check import findings_of
from tests.checker.snapshot import Snapshot


class Driver:
    """A writer, and the shop's commands in short."""

    def __init__(self, database_url: str, **options: Any) -> None:
        self.database_url = database_url
        self.rings = 0
        self.writer = Writer(database_url, self._rang, **options)
        self.submit = self.writer.submit

    def _rang(self) -> None:
        self.rings += 1

    async def do(self, command: Command, key: Key | None = None) -> Answer:
        return await self.submit(submission(command, key))

    async def user(self) -> str:
        """A new user's id."""
        user_id = new_id()
        await self.do(RegisterUser(user_id, "Ada", f"{user_id}@example.org", None))
        return user_id

    async def product(self, stock: int | None = 10) -> str:
        """A new product's id. It costs 2.50 EUR."""
        product_id = new_id()
        await self.do(AddProduct(product_id, product_id, "Tea", Decimal("2.5"), "EUR", stock))
        return product_id

    async def order(self, user_id: str, *lines: tuple[str, int]) -> str:
        """A new order's id."""
        order_id = new_id()
        await self.do(place(user_id, *lines, order_id=order_id))
        return order_id

    async def shown(self, command: Command) -> dict[str, Any]:
        """The resource that the command answers."""
        shown: dict[str, Any] = json.loads((await self.do(command)).body)
        return shown


@contextlib.asynccontextmanager
async def driving(database_url: str, **options: Any) -> AsyncIterator[Driver]:
    driver = Driver(database_url, **options)
    await driver.writer.start()
    try:
        yield driver
    finally:
        await driver.writer.stop()


def submission(command: Command, key: Key | None = None) -> Submission:
    return Submission(command, encode({"actor": "test", "command_id": new_id()}), key)


def place(
    user_id: str, *lines: tuple[str, int], order_id: str | None = None, external_id: str | None = None
) -> PlaceOrder:
    """An order of (product id, quantity) lines."""
    products = tuple(ProductRef(product_id, None) for product_id, _ in lines)
    wanted = tuple(WantedLine(quantity) for _, quantity in lines)
    return PlaceOrder(order_id or new_id(), user_id, products, wanted, external_id)


def cancel(order_id: str, quantities: dict[int, int] | None = None) -> CancelOrder:
    return CancelOrder(order_id, quantities, None)


def restock(product_id: str, delta: int) -> AdjustStock:
    return AdjustStock(product_id, delta, "counted", None)


def rows(database_url: str, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def execute(database_url: str, statement: str, *parameters: object) -> None:
    """Do something to the database that the writer would not."""
    with psycopg.connect(database_url) as connection:
        connection.execute(statement.encode(), parameters)


def events_of(database_url: str, stream: str) -> list[tuple[str, dict[str, Any]]]:
    return rows(database_url, "SELECT type, data FROM log.events WHERE stream = %s ORDER BY version", stream)


def stock_of(database_url: str, product_id: str) -> int:
    """The product's stock by its last event."""
    stock: int = events_of(database_url, f"product-{product_id}")[-1][1]["stock_after"]
    return stock


def check_log(database_url: str) -> int:
    """Check that the log is whole, whatever the answers were (see tests/checker). Returns the number of its events."""
    taken = Snapshot.take(database_url)
    assert not findings_of(taken)
    return taken.head
