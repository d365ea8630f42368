"""The write side without HTTP: commands through a real writer, and events straight into the log."""

import asyncio
import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, TypeVar

from command.domain.placing import WantedLine
from command.domain.refusals import Refused
from command.orders import PlaceOrder, ProductRef
from command.placed_orders import CancelOrder
from command.products import AddProduct, AdjustStock, ChangeProduct, DiscontinueProduct
from command.submission import Answer, Command, Submission
from command.users import ChangeUser, DeleteUser, RegisterUser
from command.writer import Writer
from eventlog import append, connecting
from eventlog.batch import Batch, NewEvent
from eventlog.events import Event, UserDeleted, UserRegistered
from eventlog.ids import new_id

ANSWER_SECONDS_MAX = 30
METADATA = b'{"actor":"test"}'
LONG_AGO = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

T = TypeVar("T")


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Look again and again until it is so; fail when the time is up."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds} s: {what}"
        # A look is work for what is waited for, and for the tests beside.
        time.sleep(min(max(0.01, waited / 10), 0.1))


def new_event(stream: str, version: int, event: Event, at: datetime = LONG_AGO) -> NewEvent:
    """An event as the log takes it."""
    return NewEvent.of(stream, version, event, at, METADATA)


def append_events(database_url: str, events: Iterable[NewEvent]) -> None:
    """Put events into the log as they are, whatever the rules say."""

    async def run() -> None:
        connection = await connecting.connect(database_url)
        try:
            await append.take_head(connection)
            await append.append(connection, Batch(list(events)))
        finally:
            await connection.close()

    asyncio.run(run())


def append_parked_user(database_url: str) -> str:
    """Append a user with an event of an unknown type, at which projections park the stream. Returns the stream."""
    stream = f"user-{new_id()}"
    registered = UserRegistered("Bob", f"{stream}@example.org", f"{stream}@example.org", None)
    unknown = new_event(stream, 2, UserDeleted())._replace(type="UserMerged")
    append_events(database_url, [new_event(stream, 1, registered), unknown])
    return stream


class Writing:
    """Commands through a writer that runs on a thread of its own; `with` starts and stops it."""

    def __init__(self, database_url: str, rang: Callable[[], None] = lambda: None) -> None:
        self._writer: Writer | None = None
        self._database_url = database_url
        self._rang = rang
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="writing")
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._writer is not None
        self._wait(self._writer.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_SECONDS_MAX)
        self._loop.close()

    def run(self, command: Command) -> Answer:
        """Run a command. Raises what the writer raises."""
        return self._wait(self._submit(command))

    def user(self, **fields: Any) -> str:
        """Register a user; return its id."""
        number, user_id = next(self._numbers), new_id()
        given = {"name": f"User {number}", "email": f"{user_id}@example.org", "external_id": None} | fields
        self.run(RegisterUser(user_id=user_id, **given))
        return user_id

    def change_user(self, user_id: str, name: str, email: str) -> Answer:
        return self.run(ChangeUser(user_id=user_id, name=name, email=email, expected_version=None))

    def delete_user(self, user_id: str) -> Answer:
        return self.run(DeleteUser(user_id=user_id, expected_version=None))

    def product(self, **fields: Any) -> str:
        """Add a product; return its id."""
        number, product_id = next(self._numbers), new_id()
        given = {"name": f"Product {number}", "price": Decimal("2.50"), "currency": "EUR", "stock": 1_000_000} | fields
        self.run(AddProduct(product_id=product_id, sku=given.pop("sku", f"sku-{product_id}"), **given))
        return product_id

    def change_product(self, product_id: str, name: str, price: Decimal) -> Answer:
        return self.run(ChangeProduct(product_id=product_id, name=name, price=price, expected_version=None))

    def discontinue(self, product_id: str) -> Answer:
        return self.run(DiscontinueProduct(product_id=product_id, expected_version=None))

    def adjust_stock(self, product_id: str, delta: int, reason: str = "counted") -> Answer:
        return self.run(AdjustStock(product_id=product_id, delta=delta, reason=reason, expected_version=None))

    def order(self, user_id: str, lines: Mapping[str, int], **fields: Any) -> str:
        """Place an order of quantities by product id; return its id."""
        return self._wait(self._order(user_id, lines, fields))

    def cancel(self, order_id: str, quantities: Mapping[int, int] | None = None, reason: str | None = None) -> Answer:
        """Cancel quantities by line number, or all that is left."""
        return self.run(CancelOrder(order_id=order_id, quantities=quantities, reason=reason))

    def history(self, seed: int = 1, orders: int = 30) -> None:
        """A little of everything that can happen, in an order of events that depends on the seed alone."""
        chance = random.Random(seed)  # noqa: S311 - tests that differ from run to run help nobody
        users = [self.user(external_id=f"u{seed}-{number}") for number in range(5)]
        products = [self.product(stock=None if number == 0 else 1_000) for number in range(6)]
        for number in range(orders):
            picked = chance.sample(products, chance.randint(1, 3))
            lines = {product: chance.randint(1, 4) for product in picked}
            order = self.order(chance.choice(users), lines, external_id=f"o{seed}-{number}", note=f"note {number}")
            if number % 3 == 0:
                self.cancel(order, {1: 1}, "too many")
            if number % 4 == 0:
                with contextlib.suppress(Refused):
                    self.cancel(order)
            if number % 5 == 0:
                self.adjust_stock(products[1], -1)
                self.change_product(products[2], f"Renamed {number}", Decimal(number) / 4)
        self.change_user(users[0], "Renamed", f"renamed-{seed}@example.org")
        self.delete_user(self.user())
        self.discontinue(products[5])

    @contextlib.contextmanager
    def traffic(self, clients: int = 4) -> Iterator[None]:
        """Orders that are placed and cancelled all the while. Fails if one of the commands does."""
        user = self.user()
        products = [self.product() for _ in range(5)]
        stopping = threading.Event()

        async def client(number: int) -> None:
            chance = random.Random(number)  # noqa: S311 - no secret
            while not stopping.is_set():
                order = await self._order(user, {chance.choice(products): 2}, {})
                await self._submit(CancelOrder(order_id=order, quantities={1: 1}, reason=None))

        async def run() -> None:
            await asyncio.gather(*[client(number) for number in range(clients)])

        running = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            yield
        finally:
            stopping.set()
            running.result(ANSWER_SECONDS_MAX)

    async def _start(self) -> None:
        self._writer = Writer(self._database_url, self._rang)
        await self._writer.start()

    async def _order(self, user_id: str, lines: Mapping[str, int], fields: dict[str, Any]) -> str:
        order_id = new_id()
        products = tuple(ProductRef(product_id, None) for product_id in lines)
        wanted = tuple(WantedLine(quantity) for quantity in lines.values())
        await self._submit(PlaceOrder(order_id=order_id, user_id=user_id, products=products, lines=wanted, **fields))
        return order_id

    async def _submit(self, command: Command) -> Answer:
        assert self._writer is not None
        return await self._writer.submit(Submission(command, METADATA))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_SECONDS_MAX)
