"""Many clients at the same moment, over all API processes in turn, every word of them recorded."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from tests import loopback
from tests.checker.history import TAG_HEADER, Attempt, Command, History, Outcome, answered

ANSWER_SECONDS_MAX = 60
CONNECTIONS_MAX = 300
# What a client may be told while parts are down. It tries again, with the same key.
PASSING = {"no-connection", "unavailable", "outcome-unknown", "overloaded"}
PAUSE_SECONDS = 0.1
PERSIST_SECONDS_MAX = 60


class Crowd:
    """Sends commands to the APIs at `urls`, one after the other in turn. To be used on one event loop."""

    def __init__(self, urls: Sequence[str], history: History) -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
        self._clients = [loopback.AsyncClient(base_url=url, limits=limits, timeout=ANSWER_SECONDS_MAX) for url in urls]
        self._turns = itertools.cycle(self._clients)
        self.history = history

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.aclose()

    async def send(self, command: Command, headers: Mapping[str, str] | None = None) -> Attempt:
        """Send a command once (more), and record what came of it. Raises nothing of the network's."""
        sent = {TAG_HEADER: command.tag, **(headers or {})}
        if command.key is not None:
            sent["Idempotency-Key"] = command.key
        started = time.monotonic()
        try:
            answer = await next(self._turns).request(command.method, command.path, json=command.body, headers=sent)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            # It never left.
            attempt = Attempt(started, time.monotonic(), Outcome.REJECTED, code="no-connection")
        except httpx.TransportError as error:
            attempt = Attempt(started, time.monotonic(), Outcome.UNKNOWN, code=type(error).__name__)
        else:
            attempt = answered(answer, started)
        return self.history.record(command, attempt)

    async def all_at_once(self, commands: Iterable[Command]) -> list[Attempt]:
        return await asyncio.gather(*map(self.send, commands))

    async def persist(self, command: Command) -> Attempt:
        """Send a command with a key until it is accepted; nothing but a part that is down may be in the way."""
        deadline = time.monotonic() + PERSIST_SECONDS_MAX
        while (attempt := await self.send(command)).outcome is not Outcome.ACKNOWLEDGED:
            assert attempt.outcome is Outcome.UNKNOWN or attempt.code in PASSING, attempt
            assert time.monotonic() < deadline, attempt
            await asyncio.sleep(PAUSE_SECONDS)
        return attempt

    async def done(self, method: str, path: str, body: dict[str, Any] | None = None) -> Attempt:
        """Send a new command that must be accepted."""
        attempt = await self.send(self.history.command(method, path, body))
        assert attempt.outcome is Outcome.ACKNOWLEDGED, attempt
        return attempt

    async def user(self) -> str:
        """A new user's id."""
        number = len(self.history.commands)
        made = await self.done("POST", "/users", {"name": "Ada", "email": f"ada-{number}@example.org"})
        return str(made.body["id"])

    async def product(self, stock: int) -> str:
        """A new product's id. It costs 2.50 EUR."""
        body = {"sku": f"tea-{len(self.history.commands)}", "name": "Tea", "price": "2.50", "currency": "EUR"}
        made = await self.done("POST", "/products", body | {"stock": stock})
        return str(made.body["id"])

    def order(self, user: str, *lines: tuple[str, int], key: str | None = None) -> Command:
        """An order of (product id, quantity) lines, to be sent."""
        items = [{"product_id": product, "quantity": quantity} for product, quantity in lines]
        return self.history.command("POST", "/orders", {"user_id": user, "items": items}, key)

    def cancellation(self, order: str, quantity: int | None = None) -> Command:
        """Of the whole order, or so many pieces of its first line; to be sent."""
        body = {} if quantity is None else {"lines": [{"line": 1, "quantity": quantity}]}
        return self.history.command("POST", f"/orders/{order}/cancel", body)


def counts(attempts: Iterable[Attempt]) -> Counter[tuple[int | None, str | None]]:
    """How many got which answer: (status, code of the problem)."""
    return Counter((attempt.status, attempt.code) for attempt in attempts)
