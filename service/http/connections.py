"""Shared by all connections of a process: their number, the room for requests, and a check of each once a second."""

import asyncio
import logging
import resource
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from typing import Protocol, Self

from service.http import refusing
from service.http.refusing import NoRoom

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 4_000
# File descriptors for everything else: databases, Redis, logs.
OTHER_DESCRIPTORS = 100
# A request must arrive within this time, from its first byte to its last.
REQUEST_SECONDS_MAX = 10
CHECK_EVERY_SECONDS = 1
# Answers that clients have not read yet are in memory: 4 MiB for a page of events. Clients that read slowly may hold
# this much in all.
UNREAD_BYTES_MAX = 96 * 1024**2

URL_BYTES_MAX = 8 * 1024
HEADERS_MAX = 100
HEAD_BYTES_MAX = 32 * 1024
# Requests under way, without those that only wait: commands for the writer, reads for their Sync-Token. All share
# one event loop, so more of them would delay every answer, rejections too.
REQUESTS_MAX = 500

_READING = {b"GET", b"HEAD", b"OPTIONS"}
# Never reject health checks and metrics: a process that is overloaded must not look dead.
_HEALTH_CHECKS = {b"/healthz", b"/readyz", b"/metrics"}


class Checked(Protocol):
    """A connection that is checked once a second. `now` is the event loop's time."""

    @property
    def unread_bytes(self) -> int: ...

    def check(self, now: float) -> None: ...

    def abort(self) -> None: ...


class Connections:
    """The connections of one process.

    `waiting` returns how many requests only wait: commands for the writer, reads for their Sync-Token.
    `commands_are_full` returns whether the writer takes no more commands. `closing` is called once, when the process
    begins to stop. `prefix` is the path that a proxy puts in front of the
    API's paths. `refused` counts the requests and connections that had no room, by reason.
    """

    def __init__(
        self,
        waiting: Callable[[], int],
        commands_are_full: Callable[[], bool],
        closing: Callable[[], None],
        prefix: str,
    ) -> None:
        self._waiting = waiting
        self._commands_are_full = commands_are_full
        self._closing = closing
        self.most = connections_max()
        self.prefix = prefix
        self.closing_since: float | None = None
        self.refused = Counter[str](dict.fromkeys(refusing.REASONS, 0))
        self._open: set[Checked] = set()
        self._checking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._checking = asyncio.create_task(self._check_for_ever(), name="connections")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._checking is not None
        self._checking.cancel()

    def opened(self, connection: Checked) -> bool:
        """Add a connection. Returns False when more are open than allowed."""
        self._open.add(connection)
        return len(self._open) <= self.most

    def lost(self, connection: Checked) -> None:
        """Remove a connection that was closed."""
        self._open.discard(connection)

    def no_room(self, under_way: int, method: bytes, url: bytes) -> NoRoom | None:
        """Why there is no room for this request; None if there is."""
        if under_way - self._waiting() > REQUESTS_MAX and url not in _HEALTH_CHECKS:
            return refusing.REQUESTS
        if method not in _READING and self._commands_are_full():
            return refusing.COMMANDS
        return None

    def closing(self) -> None:
        """Begin to stop: requests that have arrived are answered, later ones are not. May be called several times."""
        if self.closing_since is None:
            self.closing_since = asyncio.get_running_loop().time()
            self._closing()

    async def _check_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_EVERY_SECONDS)
            for connection in tuple(self._open):
                connection.check(loop.time())
            self._close_slow_readers()

    def _close_slow_readers(self) -> None:
        """Close the connections with the most unread bytes, until all others have UNREAD_BYTES_MAX at most."""
        unread = sorted(((count, it) for it in self._open if (count := it.unread_bytes)), key=itemgetter(0))
        total, closed = sum(count for count, _ in unread), 0
        while total > UNREAD_BYTES_MAX:
            count, connection = unread.pop()
            connection.abort()
            total, closed = total - count, closed + 1
        if closed:
            log.warning("closed %d connections: their clients read too slowly, and the answers filled memory", closed)


def connections_max() -> int:
    """How many connections the process may have, at most CONNECTIONS_MAX.

    Raises the soft limit of file descriptors to what they need, as far as the hard limit allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + OTHER_DESCRIPTORS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    most = max(1, allowed - OTHER_DESCRIPTORS)
    if most < CONNECTIONS_MAX:
        remedy = "raise it with ulimit -n, or LimitNOFILE of systemd"
        log.warning("the limit of %d open files allows %d connections, not %d: %s", hard, most, CONNECTIONS_MAX, remedy)
    return most
