"""Mixed load on a running service: as fast as it goes, or at a rate whatever it answers.

It shares the machine with what it measures, so a request costs it no task and no future: bytes out, a callback in.
"""

import asyncio
import json
import random
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from bench.http_client import Answer, Connection, get, post
from tests import loopback

USERS, PRODUCTS = 50, 200
CARTS = 1_000  # different bodies of POST /orders
KNOWN_ORDERS_MAX = 1_000  # of those placed, the last ones are read and cancelled
REFUSALS = {503}
# Requests are sent in bunches so far apart.
TICK_SECONDS = 0.002


@dataclass
class Seen:
    """What became of the requests of some seconds; milliseconds from when each was due to its answer."""

    seconds: float = 0
    accepted_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    refusals_without_retry_after: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def goodput(self) -> float:
        """Requests a second that did what they were to do."""
        return len(self.accepted_ms) / self.seconds


def percentile(values: list[float], percent: int) -> float:
    """0 of nothing."""
    if len(values) < 2:
        return sum(values)
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


class Load:
    """Orders placed, read, listed and cancelled, in a mix that depends on the seed alone."""

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._host = urlsplit(url).netloc
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._orders: deque[str] = deque(maxlen=KNOWN_ORDERS_MAX)
        self._free: list[Connection] = []
        self._carts: list[bytes] = []
        self._lists: list[bytes] = []
        self._products: list[bytes] = []
        self._opening: set[asyncio.Task[None]] = set()

    def prepare(self) -> None:
        """Make users and products."""
        users, products = [], []
        with loopback.Client(base_url=self._url, timeout=20) as shop:
            for number in range(USERS):
                made = shop.post("/users", json={"name": "Ada", "email": f"ada{number}@example.org"})
                users.append(made.json()["id"])
            for number in range(PRODUCTS):
                product = {"sku": f"tea-{number}", "name": "Tea", "price": "2.5", "currency": "EUR", "stock": 10**9}
                products.append(shop.post("/products", json=product).json()["id"])
        for _ in range(CARTS):
            items = [{"product_id": it, "quantity": 1} for it in self._chance.sample(products, 2)]
            cart = {"user_id": self._chance.choice(users), "items": items}
            self._carts.append(post(self._host, "/orders", json.dumps(cart).encode()))
        self._lists = [get(self._host, f"/users/{user}/orders?limit=10") for user in users]
        self._products = [get(self._host, f"/products/{product}") for product in products]

    async def at_full_speed(self, seconds: float, clients: int) -> Seen:
        """Closed loop: each client sends the next request when it has its answer."""
        seen = Seen(seconds)
        done = asyncio.Event()
        until = time.perf_counter() + seconds
        left = clients

        def next_one() -> None:
            nonlocal left
            now = time.perf_counter()
            if now < until:
                self._send(seen, now, next_one)
                return
            left -= 1
            if not left:
                done.set()

        for _ in range(clients):
            next_one()
        await done.wait()
        return seen

    async def at_rate(self, rate: float, seconds: float, under_way_max: int) -> Seen:
        """Open loop: requests are sent when they are due, whether earlier ones were answered or not.

        When so many are under way, a request is not sent at all.
        """
        seen = Seen()
        under_way = 0
        done = asyncio.Event()

        def ended() -> None:
            nonlocal under_way
            under_way -= 1
            if not under_way:
                done.set()

        start = time.perf_counter()
        number = 0
        while (now := time.perf_counter() - start) < seconds:
            for due in range(number, int(now * rate)):
                if under_way < under_way_max:
                    under_way += 1
                    self._send(seen, start + due / rate, ended)
            number = max(number, int(now * rate))
            await asyncio.sleep(TICK_SECONDS)
        done.clear()
        if under_way:
            await done.wait()
        seen.seconds = time.perf_counter() - start
        return seen

    @property
    def connections(self) -> int:
        """How many are open while nothing is under way."""
        return sum(connection.is_open for connection in self._free)

    def close(self) -> None:
        while self._free:
            self._free.pop().close()

    def _send(self, seen: Seen, due: float, ended: Callable[[], None]) -> None:
        request = self._next()
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                connection.exchange(request, partial(self._heard, seen, due, ended, request, connection))
                return
        self._send_afresh(seen, due, ended, request)

    def _send_afresh(self, seen: Seen, due: float, ended: Callable[[], None], request: bytes) -> None:
        async def opened() -> None:
            try:
                connection = await Connection.open(self._url)
            except OSError as error:
                seen.failed[type(error).__name__] += 1
                ended()
            else:
                connection.exchange(request, partial(self._heard, seen, due, ended, request, connection, is_fresh=True))

        opening = asyncio.create_task(opened())
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    def _heard(
        self,
        seen: Seen,
        due: float,
        ended: Callable[[], None],
        request: bytes,
        connection: Connection,
        answer: Answer | None,
        is_fresh: bool = False,
    ) -> None:
        if answer is None and not is_fresh:
            # Closed as it had been idle, before the request was read.
            self._send_afresh(seen, due, ended, request)
            return
        if answer is None:
            seen.failed["closed"] += 1
        else:
            self._free.append(connection)
            self._count(seen, (time.perf_counter() - due) * 1000, answer)
        ended()

    def _count(self, seen: Seen, took_ms: float, answer: Answer) -> None:
        if answer.status in REFUSALS:
            seen.refused_ms.append(took_ms)
            seen.refusals_without_retry_after += b"\r\nretry-after:" not in answer.head
        elif answer.status < 400 or answer.status in {404, 409}:  # not projected yet, or cancelled by then
            seen.accepted_ms.append(took_ms)
            if answer.status == 201:
                self._orders.append(json.loads(answer.body)["id"])
        else:
            seen.failed[str(answer.status)] += 1

    def _next(self) -> bytes:
        choice = self._chance.choice
        kind = self._chance.random()
        if kind < 0.6 or not self._orders:
            return choice(self._carts)
        if kind < 0.8:
            return get(self._host, f"/orders/{choice(self._orders)}")
        if kind < 0.9:
            return choice(self._lists)
        if kind < 0.95:
            return choice(self._products)
        return post(self._host, f"/orders/{choice(self._orders)}/cancel", b"{}")
