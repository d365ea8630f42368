"""Loading long streams beside the batches, so that no batch waits for them.

A stream with more events behind its snapshot than a batch reads is loaded here in pages, on a connection of its own,
without the log's head. Streams take turns. Each ends with a snapshot, which the next batch of the writer reads; a
snapshot on the way, every SAVE_EVERY_EVENTS, limits what is lost when the process ends.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from command.states import Entity, base_of, fold, shape_of
from command.submission import Overloaded, Unavailable
from command.waiting import Waiting
from database.deadline import hung_up_after
from eventlog import connecting, failures, read, snapshots
from eventlog.codec import Codec, UnreadableEvent, encode
from eventlog.snapshots import Snapshot

PAGE_EVENTS_MAX = 1_000
PAGE_BYTES_MAX = 1024**2
# Other work on the event loop waits for so many events at a time: about 1 ms.
SLICE_EVENTS = 200
# The next stream has its turn after so many events, so that a short stream does not wait for a very long one.
TURN_EVENTS = 10_000
# The server has failed when a turn takes so long.
TURN_SECONDS_MAX = 15
SAVE_EVERY_EVENTS = 50_000
HELD_MAX = 2_000

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Stream:
    """A stream that is being loaded; the state in its last snapshot is of version `saved`."""

    name: str
    entity: Entity[Any] | None = None
    saved: int = 0


class Loader:
    """Loads streams in the background and holds the commands that wait for them.

    `release` takes commands whose streams are loaded. A held command that becomes older than `seconds_max` fails with
    Overloaded, and the loading goes on; None sets no limit.
    """

    def __init__(
        self, database_url: str, codec: Codec, release: Callable[[Waiting], None], seconds_max: float | None
    ) -> None:
        self._database_url = database_url
        self._codec = codec
        self._release = release
        self._seconds_max = seconds_max
        self._streams: dict[str, _Stream] = {}
        self._turns: deque[_Stream] = deque()
        # Each held command, with the streams that it still waits for. In the order in which they came.
        self._held: dict[Waiting, set[str]] = {}
        self._connection: AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None

    def __contains__(self, stream: object) -> bool:
        return stream in self._streams

    @property
    def held(self) -> int:
        return len(self._held)

    def hold(self, waiting: Waiting, streams: set[str]) -> None:
        """Keep a command until its streams are loaded. When too many are kept, it fails with Overloaded."""
        self._held[waiting] = set(streams)
        for name in streams:
            if name not in self._streams:
                self._streams[name] = _Stream(name)
                self._turns.append(self._streams[name])
        if self._seconds_max is not None and len(self._held) > HELD_MAX:
            self._fail([waiting], Overloaded("too many commands wait for a history that is being loaded"))
        elif self._seconds_max is not None:
            late = Overloaded("the history that it needs is still being loaded")
            asyncio.get_running_loop().call_at(waiting.since + self._seconds_max, self._fail, [waiting], late)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="loader")

    async def finish(self) -> None:
        if self._task:
            await self._task

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail(list(self._held), Unavailable("the process stops before the history is loaded"))

    async def _run(self) -> None:
        try:
            while self._turns:
                stream = self._turns.popleft()
                try:
                    connection = await self._connected()
                    with hung_up_after(TURN_SECONDS_MAX, connection):
                        is_loaded = await self._advance(connection, stream)
                except UnreadableEvent as error:
                    self._finish(stream, error)
                except Exception as error:  # noqa: BLE001 - the commands that wait learn it, whatever it is
                    await self._disconnect()
                    log.warning("%s could not be loaded: %s", stream.name, failures.for_the_log(error))
                    self._finish(stream, Unavailable.of(error) if failures.is_outage(error) else error)
                else:
                    if is_loaded:
                        self._finish(stream)
                    else:
                        self._turns.append(stream)
        finally:
            await self._disconnect()

    async def _advance(self, connection: AsyncConnection, stream: _Stream) -> bool:
        """Fold the stream's next events. Returns whether all are folded and the snapshot is written."""
        if stream.entity is None:
            found = await read.histories(connection, {stream.name: shape_of(stream.name)}, events_max=1)
            history = found.get(stream.name)
            stream.entity = (base_of(stream.name, history) if history else None) or Entity(0, None)
            stream.saved = stream.entity.version
            log.info("loading %s from version %d", stream.name, stream.saved)
        stop = stream.entity.version + TURN_EVENTS
        while page := await read.past(connection, stream.name, stream.entity.version, PAGE_EVENTS_MAX, PAGE_BYTES_MAX):
            for first in range(0, len(page), SLICE_EVENTS):
                await self._fold(connection, stream, page[first : first + SLICE_EVENTS])
            if stream.entity.version >= stop:
                break
        is_loaded = not page
        if is_loaded or stream.entity.version - stream.saved >= SAVE_EVERY_EVENTS:
            await self._save(connection, stream)
        return is_loaded

    async def _fold(self, connection: AsyncConnection, stream: _Stream, events: list[read.PastEvent]) -> None:
        """Fold a slice of a page. Raises UnreadableEvent with the state before the event saved."""
        assert stream.entity is not None
        for event in events:
            try:
                stream.entity = fold(self._codec, stream.name, stream.entity, [event])
            except Exception as error:
                if stream.entity.version > stream.saved:
                    await self._save(connection, stream)
                raise UnreadableEvent(f"{stream.name}: {str(error) or type(error).__name__}") from error
        await asyncio.sleep(0)

    async def _save(self, connection: AsyncConnection, stream: _Stream) -> None:
        assert stream.entity is not None
        version, state = stream.entity
        await snapshots.write(connection, stream.name, Snapshot(version, shape_of(stream.name), encode(state)))
        stream.saved = version

    def _finish(self, stream: _Stream, error: Exception | None = None) -> None:
        """Give the stream's commands back to the writer, or fail them with `error`."""
        del self._streams[stream.name]
        if error is not None:
            self._fail([waiting for waiting, streams in self._held.items() if stream.name in streams], error)
        # In the order in which they came. A command that waits only for the ones before it waits for no stream.
        keeps_order = self._seconds_max is None
        is_blocked = False
        for waiting, streams in list(self._held.items()):
            streams.discard(stream.name)
            is_blocked = bool(streams) or (is_blocked and keeps_order)
            if not is_blocked:
                del self._held[waiting]
                self._release(waiting)

    def _fail(self, held: list[Waiting], error: Exception) -> None:
        for waiting in held:
            if self._held.pop(waiting, None) is not None and not waiting.future.done():
                waiting.future.set_exception(error)

    async def _connected(self) -> AsyncConnection:
        if self._connection is None or self._connection.broken:
            self._connection = await connecting.connect(self._database_url)
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
