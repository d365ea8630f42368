"""Equal reads share one: of a list that many ask for at once, PostgreSQL makes the page once.

docs/performance.md has the figures: a page that 16 clients ask for is answered three times as often as different pages.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Sharing(Generic[Answer]):
    """Joins reads with the same key. A single read starts at once; equal ones that arrive meanwhile share the next one.

    Nothing is kept: an answer is never older than the question.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, asyncio.Future[Answer]] = {}
        self._flights: dict[Hashable, asyncio.Task[None]] = {}

    async def read(self, key: Hashable, read: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of a `read` that starts after this call, perhaps another caller's. Raises the errors of `read`."""
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            if key not in self._flights:
                self._flights[key] = asyncio.create_task(self._fly(key, read))
        # A client that hangs up must not cancel the read of the others.
        return await asyncio.shield(future)

    async def _fly(self, key: Hashable, read: Callable[[], Awaitable[Answer]]) -> None:
        try:
            # Only what has not been sent may be shared, so it takes no more passengers from here on.
            while future := self._waiting.pop(key, None):
                try:
                    future.set_result(await read())
                except Exception as error:  # noqa: BLE001 - it is everybody's who asked, and the next flight must go
                    future.set_exception(error)
                    # Requests for the next flight fail too. They have waited as long, and would wait as long again.
                    if following := self._waiting.pop(key, None):
                        following.set_exception(error)
        finally:
            del self._flights[key]
