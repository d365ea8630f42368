"""Products with a long history and without snapshots: they are loaded beside all other work, and only once."""

import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from typing import Self

import httpx
import pytest

from command.submission import Overloaded, Unavailable
from tests import loopback
from tests.command.driving import driving, execute, restock, rows, submission
from tests.served import Shop, served

LONG = 200_000
MANY, EACH, CLIENTS = 300, 600, 200
P99_SECONDS_MAX = 0.2

# Products as long as wanted, whose stock is their number of events - 1.
PRODUCTS = """
WITH product AS (
    SELECT number, uuidv7()::text AS id FROM generate_series(1, %s::int) AS number
), head AS (
    UPDATE log.head SET position = position + %s::int * %s::int RETURNING position - %s::int * %s::int AS base
)
INSERT INTO log.events (position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata)
SELECT base + (number - 1) * %s::int + n, 'product-' || id, n,
    CASE n WHEN 1 THEN 'ProductAdded' ELSE 'StockAdjusted' END, 1, now(), now(),
    CASE n
        WHEN 1 THEN '{"sku":"' || id || '","name":"Tea","price":"1.50","currency":"EUR","stock_kept":true}'
        ELSE '{"delta":1,"reason":"delivery","stock_after":' || n - 1 || '}'
    END::json,
    '{"actor":{"kind":"key","id":"bench"},"command_id":"01890a5d-ac96-774b-bcce-b302099a8057"}'
FROM head, product, generate_series(1, %s::int) AS n
"""


def long_products(database_url: str, number: int, events: int) -> list[str]:
    execute(database_url, PRODUCTS, number, number, events, number, events, events, events)
    return [it for (it,) in rows(database_url, "SELECT substr(stream, 9) FROM log.events WHERE version = 2")]


class Meanwhile:
    """Repeats something in a thread and times it."""

    def __init__(self, do: Callable[[httpx.Client], httpx.Response], shop: Shop) -> None:
        self.seconds: list[float] = []
        self.statuses: set[int] = set()
        self._do, self._shop = do, shop
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with loopback.Client(base_url=self._shop.http.base_url, timeout=30) as http:
            while not self._stop.is_set():
                started = time.perf_counter()
                self.statuses.add(self._do(http).status_code)
                self.seconds.append(time.perf_counter() - started)
                self._stop.wait(0.005)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100)[98]


def until_done(do: Callable[[], httpx.Response], seconds: float) -> float:
    """Repeat a command as Retry-After asks until it is accepted. Returns how long that takes."""
    started = time.perf_counter()
    while (answer := do()).status_code == 503:
        assert answer.json()["code"] == "overloaded"
        assert answer.json()["retryable"]
        assert time.perf_counter() - started < seconds, answer.text
        time.sleep(0.2)
    assert answer.status_code in (200, 201), answer.text
    return time.perf_counter() - started


def test_others_are_served_while_a_very_long_stream_is_loaded(database_url: str) -> None:
    (tea,) = long_products(database_url, 1, LONG)
    with served(database_url) as shop:
        cup, ada = shop.product(stock=1_000_000), shop.user()

        def order(http: httpx.Client, product_id: str) -> httpx.Response:
            items = [{"product_id": product_id, "quantity": 1}]
            return http.post("/orders", json={"user_id": ada["id"], "items": items})

        with (
            Meanwhile(lambda http: order(http, cup["id"]), shop) as others,
            Meanwhile(lambda http: http.get("/healthz"), shop) as health,
        ):
            time.sleep(1)
            before = max(others.p99(), health.p99())  # on a busy machine nothing is fast
            until_done(lambda: order(shop.http, tea), 15)
        assert (others.statuses, health.statuses) == ({201}, {200})
        assert max(others.p99(), health.p99()) < max(P99_SECONDS_MAX, 2 * before)
        # The snapshot is there: the next one is as fast as any other.
        assert until_done(lambda: order(shop.http, tea), 1) < 1
    assert rows(database_url, "SELECT version FROM log.snapshots WHERE stream = %s", f"product-{tea}") == [(LONG,)]


def test_many_long_streams_are_loaded_and_their_clients_served(database_url: str) -> None:
    products = long_products(database_url, MANY, EACH)

    async def buy(http: httpx.AsyncClient, number: int) -> int:
        path = f"/products/{products[number % MANY]}/stock"
        for tries in range(60):
            answer = await http.post(path, json={"delta": 1, "reason": "counted"})
            if answer.status_code != 503:
                assert answer.status_code == 200, answer.text
                return tries
            await asyncio.sleep(0.25)
        raise AssertionError(answer.text)

    async def crowd(base_url: httpx.URL) -> None:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with loopback.AsyncClient(base_url=base_url, timeout=30, limits=limits) as http:
            await asyncio.gather(*[buy(http, number) for number in range(MANY)])

    with served(database_url) as shop:
        asyncio.run(crowd(shop.http.base_url))
    assert rows(database_url, "SELECT min(version), count(*) FROM log.snapshots") == [(EACH, MANY)]
    assert rows(database_url, "SELECT DISTINCT max(version) FROM log.events GROUP BY stream") == [(EACH + 1,)]


@pytest.mark.anyio
async def test_a_writer_that_stops_while_it_loads_leaves_its_progress(database_url: str) -> None:
    (tea,) = long_products(database_url, 1, LONG)
    snapshots = "SELECT version FROM log.snapshots"
    async with driving(database_url) as first:
        asked = first.submit(submission(restock(tea, 1)))
        while not rows(database_url, snapshots):  # noqa: ASYNC110 - the database has no event for it
            await asyncio.sleep(0.01)
    with pytest.raises((Unavailable, Overloaded)):
        await asked
    ((saved,),) = rows(database_url, snapshots)
    assert 0 < saved < LONG
    async with driving(database_url, is_patient=True) as second:
        assert (await second.do(restock(tea, 1))).version == LONG + 1


@pytest.mark.anyio
async def test_commands_that_wait_for_a_long_stream_count_as_waiting(database_url: str) -> None:
    """So they take no place from the other requests that are under way."""
    (tea,) = long_products(database_url, 1, LONG // 10)
    async with driving(database_url) as driver:
        asked = [driver.submit(submission(restock(tea, 1))) for _ in range(3)]
        await driver.user()
        assert driver.writer.waiting == 3
        assert [it.version for it in await asyncio.gather(*asked)] == [LONG // 10 + 1, LONG // 10 + 2, LONG // 10 + 3]
        assert driver.writer.waiting == 0
