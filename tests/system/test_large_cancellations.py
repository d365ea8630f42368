"""Orders of a thousand lines are cancelled by the hundred: all of them are done, and small orders go on meanwhile."""

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest

from command.deciding import SNAPSHOT_EVERY_EVENTS
from tests import loopback
from tests.command.driving import driving, place
from tests.system.stack import Stack

LINES = 1_000
# Each product then has as many events behind its last snapshot as it can have, and a process that has just started
# must read them all for the first cancellation.
ORDERS, ORDERS_LONG = [SNAPSHOT_EVERY_EVENTS * count - 3 for count in (8, 32)]
CLIENTS = 4
# A small order waits for one full batch at most, which takes less than 0.2 s on a machine that does nothing else. The
# worker takes its share of two cores, and in the short form other tests run beside this one, so the slowest of hundreds
# of orders may take much longer; with batches of any size it was 7 s.
HALF_WITHIN_SECONDS = 0.4
ALL_WITHIN_SECONDS, ALL_WITHIN_SECONDS_LONG = 4.0, 0.2
# Rounds in which a client repeats what was refused as overloaded, after the time that Retry-After says.
TRIES = 30


@dataclass
class Shop:
    """A running service with large orders, by id and external_id. `all_within`: seconds that small ones may take."""

    stack: Stack
    ada: str
    products: list[str]
    orders: dict[str, str]
    all_within: float
    seconds: list[float] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)

    @contextmanager
    def small_orders(self) -> Iterator[None]:
        """Place small orders all the time, on several connections, and time each."""
        stop = threading.Event()

        def buy(number: int) -> None:
            items = [{"product_id": it, "quantity": 1} for it in self.products[number : number + 3]]
            with loopback.Client(base_url=self.stack.urls[0], timeout=30) as http:
                while not stop.wait(0.02):
                    sent = time.perf_counter()
                    self.statuses.add(http.post("/orders", json={"user_id": self.ada, "items": items}).status_code)
                    self.seconds.append(time.perf_counter() - sent)

        threads = [threading.Thread(target=buy, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def check(self, before: float) -> None:
        median, slowest = statistics.median(self.seconds), max(self.seconds)
        print(f"{len(self.seconds)} small orders: half within {median:.3f} s, all within {slowest:.3f} s")
        assert self.statuses == {201}
        assert median < max(HALF_WITHIN_SECONDS, 5 * before)
        assert slowest < max(self.all_within, 20 * before)
        cancelled = "SELECT count(*) FROM log.events WHERE type = 'OrderCancelled'"
        assert self.stack.rows(cancelled) == [(len(self.orders),)]


@pytest.fixture
def shop(tmp_path: Path, is_long: bool) -> Iterator[Shop]:
    async def large_orders(database_url: str) -> tuple[str, list[str], dict[str, str]]:
        async with driving(database_url, is_patient=True) as driver:
            ada = await driver.user()
            products = list(await asyncio.gather(*[driver.product(stock=1_000_000) for _ in range(LINES)]))
            lines = [(product, 1) for product in products]
            orders = {}
            for number in range(ORDERS_LONG if is_long else ORDERS):
                command = place(ada, *lines, external_id=f"large-{number}")
                await driver.do(command)
                orders[command.order_id] = f"large-{number}"
            return ada, products, orders

    with Stack(tmp_path) as stack:
        large = asyncio.run(large_orders(stack.database_url))
        yield Shop(stack, *large, ALL_WITHIN_SECONDS_LONG if is_long else ALL_WITHIN_SECONDS)


def idle(shop: Shop) -> float:
    """How long small orders take when nothing else happens; on a busy machine nothing is fast."""
    with shop.small_orders():
        time.sleep(2)  # enough orders for a slowest one
    slowest = max(shop.seconds)
    shop.seconds.clear()
    return slowest


def test_large_cancellations_over_http_delay_no_small_order(shop: Shop) -> None:
    async def cancel(http: httpx.AsyncClient, order: str) -> int:
        for tries in range(TRIES):
            answer = await http.post(f"/orders/{order}/cancel")
            if answer.status_code == 200:
                return tries
            assert answer.json()["code"] == "overloaded"
            await asyncio.sleep(float(answer.headers["retry-after"]))
        raise AssertionError(answer.text)

    async def all_at_once() -> list[int]:
        limits = httpx.Limits(max_connections=len(shop.orders))
        async with loopback.AsyncClient(base_url=shop.stack.urls[0], timeout=30, limits=limits) as http:
            return await asyncio.gather(*[cancel(http, order) for order in shop.orders])

    before = idle(shop)
    with shop.small_orders():
        tries = asyncio.run(all_at_once())
    print("cancelled after so many refusals:", sorted(tries))
    shop.check(before)


def test_an_import_of_large_cancellations_delays_no_small_order(shop: Shop, tmp_path: Path) -> None:
    at = datetime.now(UTC).isoformat()
    rows = [{"kind": "cancel_order", "order": f"c-{it}", "target": it, "at": at} for it in shop.orders.values()]
    path = tmp_path / "commands.jsonl"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    before = idle(shop)
    with ExitStack() as stack:
        stack.enter_context(shop.small_orders())
        done = shop.stack.run("import", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    shop.check(before)
