"""Mixed load on a running service: as fast as it goes, or at a rate whatever it answers."""

import asyncio
import json
import random
import statistics
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

import httpx

from bench.http_client import Answer, Connection

USERS, PRODUCTS = 50, 200
KNOWN_ORDERS_MAX = 1_000  # of those placed, the last ones are read and cancelled
REFUSALS = {503}


class Request(NamedTuple):
    path: str
    body: bytes | None


@dataclass
class Seen:
    """What became of the requests of some seconds; milliseconds from sending to the answer."""

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
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._orders: deque[str] = deque(maxlen=KNOWN_ORDERS_MAX)
        self._free: list[Connection] = []
        self._users: list[str] = []
        self._products: list[str] = []

    def prepare(self) -> None:
        """Make users and products."""
        with httpx.Client(base_url=self._url, timeout=20) as shop:
            for number in range(USERS):
                made = shop.post("/users", json={"name": "Ada", "email": f"ada{number}@example.org"})
                self._users.append(made.json()["id"])
            for number in range(PRODUCTS):
                product = {"sku": f"tea-{number}", "name": "Tea", "price": "2.5", "currency": "EUR", "stock": 10**9}
                self._products.append(shop.post("/products", json=product).json()["id"])

    async def at_full_speed(self, seconds: float, clients: int) -> Seen:
        """Closed loop: each client sends the next request when it has its answer."""
        seen = Seen(seconds)
        until = time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < until:
                await self._send(seen)

        await asyncio.gather(*[client() for _ in range(clients)])
        return seen

    async def at_rate(self, rate: float, seconds: float, connections_max: int) -> Seen:
        """Open loop: requests are sent when they are due, whether earlier ones were answered or not.

        When so many are under way that no connection is left, a request is not sent at all.
        """
        seen = Seen(seconds)
        under_way: set[asyncio.Task[None]] = set()
        start = time.perf_counter()
        for number in range(round(rate * seconds)):
            if (wait := start + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            elif number % 8 == 0:
                await asyncio.sleep(0)
            if time.perf_counter() - start > seconds:
                break
            if len(under_way) < connections_max:
                task = asyncio.create_task(self._send(seen))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.wait(under_way)
        seen.seconds = time.perf_counter() - start
        return seen

    def close(self) -> None:
        while self._free:
            self._free.pop().close()

    async def _send(self, seen: Seen) -> None:
        request = self._next()
        began = time.perf_counter()
        connection = self._free.pop() if self._free else None
        try:
            answer = await self._exchange(connection, request)
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.failed[type(error).__name__] += 1
            return
        took = (time.perf_counter() - began) * 1000
        if answer.status in REFUSALS:
            seen.refused_ms.append(took)
            seen.refusals_without_retry_after += b"\r\nretry-after:" not in answer.head
        elif answer.status < 400 or answer.status in {404, 409}:  # not projected yet, or cancelled by then
            seen.accepted_ms.append(took)
            if request.path == "/orders" and request.body:
                self._orders.append(json.loads(answer.body)["id"])
        else:
            seen.failed[str(answer.status)] += 1

    async def _exchange(self, connection: Connection | None, request: Request) -> Answer:
        for fresh in (connection is None, True):
            if fresh or connection is None:
                connection = await Connection.open(self._url)
            try:
                if request.body is None:
                    answer = await connection.get(request.path)
                else:
                    answer = await connection.post(request.path, request.body)
            except (OSError, asyncio.IncompleteReadError):
                connection.close()
                if fresh:
                    raise
                continue  # one that was closed while it was idle; the request was not read
            self._free.append(connection)
            return answer
        raise AssertionError

    def _next(self) -> Request:
        kind = self._chance.random()
        if kind < 0.6 or not self._orders:
            items = [{"product_id": it, "quantity": 1} for it in self._chance.sample(self._products, 2)]
            return Request(
                "/orders", json.dumps({"user_id": self._chance.choice(self._users), "items": items}).encode()
            )
        order = self._chance.choice(self._orders)
        if kind < 0.8:
            return Request(f"/orders/{order}", None)
        if kind < 0.9:
            return Request(f"/users/{self._chance.choice(self._users)}/orders?limit=10", None)
        if kind < 0.95:
            return Request(f"/products/{self._chance.choice(self._products)}", None)
        return Request(f"/orders/{order}/cancel", b"{}")
