"""The API keys that were used last, in memory, so that hardly a request waits for PostgreSQL.

They are read again within two seconds of a change.

A trigger counts the changes in one row. A look reads that row, and the keys only if it has changed or the connection
is new. Another process refuses a revoked key after two seconds at most: REFRESH_SECONDS, and the time that the look
takes. While the database is away the keys in memory hold. A key that is not in memory is looked for at once, so that a
new key works at once. All keys but those that ended long ago are in memory as long as these are fewer than KEYS_MAX.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import psycopg
from psycopg import AsyncConnection

from access import keys, roles, store
from access.store import StoredKey
from contract.callers import Caller
from contract.problems import Problem
from database.deadline import hung_up_after
from database.sessions import Limits, connect_async
from eventlog.failures import in_plain_words

REFRESH_SECONDS = 1.5
# An unknown key has the table read again, but no more often than this: anybody can make up keys.
UNKNOWN_SECONDS_MIN = 0.05
# After each change the keys in memory are read again, so their number bounds the time of that and the memory.
KEYS_MAX = 10_000
CONNECT_SECONDS_MAX = 5.0
STATEMENT_SECONDS_MAX = 5
READ_SECONDS_MAX = 5.0  # of a server that has fallen silent

log = logging.getLogger(__name__)


class _Known(NamedTuple):
    """A key as requests need it."""

    caller: Caller
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyHolder:
    """The keys of the database at a libpq URL."""

    def __init__(self, database_url: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database_url = database_url
        self._now = now
        self._known: dict[bytes, _Known] = {}  # the one that was used last is the last
        self._has_all = False
        self._wanted: set[bytes] = set()
        self._connection: AsyncConnection | None = None
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._used: set[str] = set()
        self._version: object | None = None
        self.is_loaded = False
        # Why the last look failed: the keys may have changed since. None when it did not.
        self.trouble: str | None = None

    @asynccontextmanager
    async def kept_current(self) -> AsyncIterator[None]:
        """Read the keys now, and again whenever they have changed."""
        await self.refresh()
        task = asyncio.create_task(self._refresh_for_ever(), name="api keys")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self._disconnect()

    async def find(self, text: str) -> Caller:
        """The caller whose key this is.

        Raises Problem `unauthenticated`; and `auth-unavailable` as long as the keys could not be read.
        """
        known = self._known.pop(digest := keys.digest(text), None)
        if known is None:
            if not keys.is_well_formed(text):
                raise Problem("unauthenticated", "The API key is misspelt: its checksum is wrong.")
            self._wanted.add(digest)
            await self.refresh(UNKNOWN_SECONDS_MIN)
            known = self._known.pop(digest, None)
        if known is None:
            raise self._unknown()
        self._known[digest] = known
        # PostgreSQL's clock wrote revoked_at, and may be ahead of this one: a key that has it is revoked now.
        if known.revoked_at is not None:
            raise Problem("unauthenticated", "The API key was revoked.")
        if known.expires_at is not None and known.expires_at <= self._now():
            raise Problem("unauthenticated", "The API key has expired.")
        self._used.add(known.caller.subject)
        return known.caller

    def _unknown(self) -> Problem:
        if not self.is_loaded:
            return Problem("auth-unavailable", "The API keys could not be read from the database yet.")
        if self.trouble and not self._has_all:
            return Problem("auth-unavailable", "The API key could not be looked for in the database.")
        return Problem("unauthenticated", "There is no such API key.")

    async def refresh(self, seconds_min: float = 0.0) -> None:
        """Read the keys if they have changed, `seconds_min` after the last time at the earliest.

        Keeps the last ones on a failure. Calls that wait share one read, which begins after all of them.
        """
        clock = asyncio.get_running_loop().time
        asked = clock()
        async with self._reading:
            # uvloop's time is in milliseconds, so a read of the same one may have begun before.
            if self._read_at > asked:
                return
            await asyncio.sleep(max(0.0, self._read_at + seconds_min - clock()))
            self._read_at = clock()
            try:
                connection = await self._connected()
                with hung_up_after(READ_SECONDS_MAX, connection):
                    await self._read(connection)
                    self.is_loaded, self.trouble = True, None
                    await self._note_use(connection)
            except (psycopg.Error, OSError) as error:
                self.trouble = f"the API keys cannot be read: {in_plain_words(error)}"
                log.warning("the API keys cannot be read: %s", str(error).partition("\n")[0])
                await self._disconnect()

    async def _read(self, connection: AsyncConnection) -> None:
        wanted, self._wanted = self._wanted, set()
        # Taken before the keys: a change between the two is read once more.
        version = await store.version(connection)
        if version is None or version != self._version:
            held = None if self._has_all or self._version is None else list(self._known)
            self._known = await _load(connection, held)
            self._has_all = held is None and len(self._known) < KEYS_MAX
            self._version = version
        if wanted and not self._has_all:
            self._known |= await _load(connection, wanted)
            for digest in list(self._known)[:-KEYS_MAX]:
                del self._known[digest]

    async def page(self, after: str | None, limit: int) -> list[StoredKey]:
        """The next keys after the one with this id (None: the first), oldest first. Raises Problem `unavailable`."""
        failing = Problem("unavailable", "The API keys cannot be read from the database at the moment.")
        async with self._asking(failing) as connection:
            await self._note_use(connection)
            return await store.page(connection, after, limit)

    async def user_of(self, external_id: str) -> str | None:
        """The user who has the external_id, by the write side's own claim. Raises Problem `auth-unavailable`."""
        failing = Problem("auth-unavailable", "The database cannot be asked for the token's user.")
        async with self._asking(failing) as connection:
            return await store.user_of(connection, external_id)

    @asynccontextmanager
    async def _asking(self, failing: Problem) -> AsyncIterator[AsyncConnection]:
        """The connection, for as long as a read may take. Logs a failure of it, and raises `failing`."""
        async with self._reading:
            try:
                connection = await self._connected()
                with hung_up_after(READ_SECONDS_MAX, connection):
                    yield connection
            except (psycopg.Error, OSError) as error:
                log.warning("%s %s", failing.detail, str(error).partition("\n")[0])
                await self._disconnect()
                raise failing from error

    async def _note_use(self, connection: AsyncConnection) -> None:
        used, self._used = self._used, set()
        if used:
            with contextlib.suppress(psycopg.Error):  # a read-only database: the note is not worth a failure
                await store.note_use(connection, used)

    async def _refresh_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.refresh()

    async def _connected(self) -> AsyncConnection:
        if self._connection is None or self._connection.closed:
            limits = Limits(statement=STATEMENT_SECONDS_MAX)
            self._version = None  # the keys may be others: of a server that took over, or restored
            self._connection = await connect_async(
                self._database_url, "orders keys", limits, seconds_max=CONNECT_SECONDS_MAX
            )
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


async def _load(connection: AsyncConnection, digests: Collection[bytes] | None) -> dict[bytes, _Known]:
    """The keys with these digests; None: KEYS_MAX of all. Raises psycopg.Error."""
    known: dict[bytes, _Known] = {}
    scopes: dict[str, frozenset[str]] = {}  # few keys have others than the keys before them
    async for rows in store.load(connection, digests, KEYS_MAX):
        for row in rows:
            if row.scopes not in scopes:
                scopes[row.scopes] = roles.widened(row.scopes.split())
            caller = Caller(row.id, row.account, sys.intern(row.role), scopes[row.scopes], row.user_id)
            known[row.sha256] = _Known(caller, row.expires_at, row.revoked_at)
        await asyncio.sleep(0)  # others' requests go on meanwhile
    return known
