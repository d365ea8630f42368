"""Read your own writes: waiting until what is read has reached the position in a Sync-Token."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol, Self, TypeVar

from fastapi import Request
from sqlalchemy import MetaData, select
from starlette.requests import ClientDisconnect

from contract.callers import caller_of
from contract.headers import sync_token
from contract.problems import Problem
from query.database import Reads
from query.statements import compiled, is_current
from query.waiting import WaitingReads
from readmodel.base import checkpoint_of

WAIT_SECONDS_DEFAULT = 2
WAIT_SECONDS_MAX = 30
# While anybody waits. Projecting takes about 10 ms, asking a fifth of one.
POLL_SECONDS = 0.005

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([^\",;]*)\"?", re.ASCII | re.IGNORECASE)

_SECONDS = re.compile(r"\d{1,9}", re.ASCII)


class Positioned(Protocol):
    """An answer that knows the log position it was read at."""

    @property
    def position(self) -> int:
        """The position."""


Answer = TypeVar("Answer", bound=Positioned)


class Sync:
    """Waits for positions; one poller serves everybody who waits in this process.

    `position` asks how far the read tables (or the log that is read) have come. `waiting` counts the reads that wait.
    """

    def __init__(self, position: Callable[[], Awaitable[int]], waiting: WaitingReads | None = None) -> None:
        self._position = position
        self._counted = waiting or WaitingReads()
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._poller: asyncio.Task[None] | None = None

    @classmethod
    def of_tables(cls, reads: Reads, projection: MetaData, waiting: WaitingReads | None = None) -> Self:
        checkpoint = checkpoint_of(projection)
        statement = compiled(select(checkpoint.c.position).where(is_current(projection)), projection)

        async def position() -> int:
            reached: int = (await reads.rows(statement, {}))[0][0]
            return reached

        return cls(position, waiting)

    async def answer(self, request: Request, read: Callable[[], Awaitable[Answer]]) -> Answer:
        """Call `read` and return its answer, which is no older than the request's Sync-Token.

        Most tokens have been reached when they arrive, and every answer carries its position: so it reads first, and
        waits and reads again only if that was too early. Raises Problem `projection-behind`, `overloaded` or
        `rate-limited` (too many wait), and ClientDisconnect when the client hangs up meanwhile.
        """
        token = sync_token(request)
        answer = await read()
        if token is None or answer.position >= token:
            if token is not None:
                self._counted.fresh.observe(0)
            return answer
        del answer  # hundreds may wait, each for an order of 1 MB
        seconds = wait_seconds(request)
        # The read counts as waiting until it is done: many whose wait ends at once would fill the limit of requests.
        with self._counted.one_more(caller_of(request)):
            await _unless_hung_up(request, self._reach(token, seconds))
            answer = await read()
        if answer.position < token:
            # Another replica answered than the one that was asked.
            raise _behind(token)
        return answer

    async def _reach(self, token: int, seconds: float) -> None:
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[reached] = token
        began = time.perf_counter()
        outcome = self._counted.behind
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            async with asyncio.timeout(seconds):
                await reached
            outcome = self._counted.waited
        except TimeoutError:
            raise _behind(token) from None
        finally:
            outcome.observe(time.perf_counter() - began)
            self._waiting.pop(reached, None)

    async def _poll(self) -> None:
        while self._waiting:
            try:
                position = await self._position()
            except Exception as error:  # noqa: BLE001 - every request that waits gets it; the next one starts a new poller
                for reached in self._waiting:
                    if not reached.done():
                        reached.set_exception(error)
                return
            for reached, token in self._waiting.items():
                if token <= position and not reached.done():
                    reached.set_result(None)
            await asyncio.sleep(POLL_SECONDS)


async def _unless_hung_up(request: Request, wait: Coroutine[None, None, None]) -> None:
    """Await `wait`. Stop and raise ClientDisconnect as soon as the client has hung up."""
    waiting = asyncio.create_task(wait)
    watching = asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait((waiting, watching), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientDisconnect
        waiting.result()
    finally:
        waiting.cancel()
        watching.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def wait_seconds(request: Request) -> int:
    """How long `Prefer: wait=<s>` (RFC 7240) wants to wait. Raises Problem `invalid-header`."""
    wait = _WAIT.search(",".join(request.headers.getlist("prefer")))
    if wait is None:
        return WAIT_SECONDS_DEFAULT
    seconds = wait[1].strip()
    if not _SECONDS.fullmatch(seconds):
        raise Problem("invalid-header", "Prefer: wait takes whole seconds, such as wait=5.")
    return min(int(seconds), WAIT_SECONDS_MAX)


def _behind(token: int) -> Problem:
    return Problem(
        "projection-behind", f"The read tables have not reached position {token} yet.", headers={"Retry-After": "1"}
    )
