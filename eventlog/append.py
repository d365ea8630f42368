"""Appending to the log: take the head, add events and what belongs to them, commit; all in one transaction.

Whoever appends holds the `log.head` row from before it decides until it has committed. So the states it decides on
cannot change under it, positions follow commit order, and there are no holes for a reader to fall into.
"""

import asyncio
import logging
import select
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.errors import Diagnostic

from database.deadline import hung_up_after
from database.sessions import Limits, connect_async
from eventlog import arrays, idempotency, snapshots, stalled
from eventlog.idempotency import KeptAnswer
from eventlog.snapshots import Snapshot

# Whoever waits for longer has hung up, which a session that waits for a lock does not notice: without this, one more
# would be left behind with each attempt, for as long as somebody holds the head. A COMMIT is not bounded by either.
LOCK_SECONDS_MAX, TRANSACTION_SECONDS_MAX = 8, 15
LIMITS = Limits(lock=LOCK_SECONDS_MAX, transaction=TRANSACTION_SECONDS_MAX, idle_in_transaction=stalled.SECONDS_MAX)

_HEAD = b"SELECT position, recorded_at FROM log.head ORDER BY position_group DESC LIMIT 1 FOR UPDATE"

_CHANGED_SINCE = b"SELECT DISTINCT stream FROM log.events WHERE position > %s AND position <= %s"

# The only statement that writes events. It finds the head by `position_group`, as _HEAD does: an index passes over the
# older versions of the row that an open snapshot keeps.
_APPEND = b"""
WITH head AS (
    UPDATE log.head SET position = position + %s, recorded_at = greatest(recorded_at, clock_timestamp())
    WHERE ctid = (SELECT ctid FROM log.head ORDER BY position_group DESC LIMIT 1)
    RETURNING position - %s AS base, recorded_at
)
INSERT INTO log.events
    (position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata)
SELECT head.base + event.number, event.stream, event.version, event.type, event.schema_version,
       event.occurred_at, head.recorded_at, event.data, event.metadata
FROM head, unnest(%b, %b, %b, %b, %b, %b, %b)
    WITH ORDINALITY AS event (stream, version, type, schema_version, occurred_at, data, metadata, number)
"""

_CLAIM = b"INSERT INTO log.claims (claim, stream) SELECT * FROM unnest(%b, %b)"

_RELEASE = b"DELETE FROM log.claims WHERE claim = ANY(%b)"

# The command id in the metadata tells this event from one that another command put at the same version.
_LANDED = b"""
SELECT FROM log.events WHERE stream = %s AND version = %s AND metadata::text = %s
"""


log = logging.getLogger(__name__)

# A plain warning, beside a COMMIT that is reported as done. Nothing else that appends gives one.
CANCELLED_WAIT = "01000"


class Head(NamedTuple):
    """The log's last position, and when it was written."""

    position: int
    recorded_at: datetime


class NewEvent(NamedTuple):
    """An event to append; `data` and `metadata` are JSON."""

    stream: str
    version: int
    type: str
    schema_version: int
    occurred_at: datetime
    data: bytes
    metadata: bytes


@dataclass(slots=True)
class Batch:
    """What one transaction appends."""

    events: list[NewEvent] = field(default_factory=list)
    claimed: dict[str, str] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    answers: list[KeptAnswer] = field(default_factory=list)
    forget_keys: bool = False


async def connect(database_url: str, seconds_max: float = 10) -> AsyncConnection:
    """A connection for appending. It commits by the COMMIT in `append` and by nothing else.

    Raises psycopg.OperationalError, or TimeoutError after `seconds_max`.
    """
    until = asyncio.get_running_loop().time() + seconds_max
    connection = await connect_async(database_url, "orders writer", LIMITS, seconds_max=seconds_max)
    try:
        arrays.register(connection)
        connection.prepare_threshold = 0
        with hung_up_after(until - asyncio.get_running_loop().time(), connection):
            # Whoever waited in vain for the head hangs up and comes here.
            if (await connection.execute(stalled.END, ("log.head",))).rowcount:
                log.warning("a writer that had stopped in the middle of a statement was ended")
    except BaseException:
        await connection.close()
        raise
    return connection


async def take_head(
    connection: AsyncConnection, keys: Collection[tuple[bytes, str]] = ()
) -> tuple[Head, list[KeptAnswer]]:
    """Begin a transaction and wait for the head. From here on nobody else appends, until commit or rollback.

    Also finds, in the same round trip, the answers kept under the Idempotency-Keys `keys`: (caller, key) pairs.
    """
    if not keys:
        cursor = await connection.execute(b"BEGIN;" + _HEAD, prepare=False)
        cursor.nextset()
        return _head(await cursor.fetchone()), []
    async with connection.pipeline():
        await connection.execute(b"BEGIN")
        cursor = await connection.execute(_HEAD)
        # Runs when the head has been taken, so it sees what those have kept who had it before.
        found = await idempotency.find(connection, keys)
    return _head(await cursor.fetchone()), [KeptAnswer(*row) for row in await found.fetchall()]


def _head(row: tuple[int, datetime] | None) -> Head:
    assert row is not None, "the migration made the row of log.head"
    return Head(*row)


def has_hung_up(connection: AsyncConnection) -> bool:
    """Whether the server has ended an idle connection: it has said something, and nobody had asked."""
    if connection.broken:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def changed_streams(connection: AsyncConnection, after: int, up_to: int) -> list[str]:
    """The streams that have events at positions after < position <= up_to."""
    cursor = await connection.execute(_CHANGED_SINCE, (after, up_to))
    return [stream for (stream,) in await cursor.fetchall()]


class Unreplicated(Exception):
    """Somebody had a COMMIT not wait for its standby: it is done here, and lost should the standby take over."""


async def append(connection: AsyncConnection, batch: Batch) -> None:
    """Append `batch` behind the head, which must be held (`take_head`), and commit.

    When this returns, all of it is durable. All goes out in one round trip: PostgreSQL skips the COMMIT when a
    statement before it failed. Raises psycopg.Error, and Unreplicated; what a lost connection means is `landed`'s to
    tell.
    """
    warnings: list[str | None] = []

    def hear(warning: Diagnostic) -> None:
        warnings.append(warning.sqlstate)  # gone when this returns

    connection.add_notice_handler(hear)
    try:
        async with connection.pipeline():
            for query, params in _statements(batch):
                await connection.execute(query, params)
            await connection.execute(b"COMMIT")
    finally:
        connection.remove_notice_handler(hear)
    if CANCELLED_WAIT in warnings:
        raise Unreplicated("somebody had the commit not wait for its standby")


async def landed(connection: AsyncConnection, batch: Batch) -> bool:
    """Whether `batch`, which has an event or an answer to keep, was committed.

    To be asked on a new connection when the old one broke at COMMIT. Taking the head waits until the old transaction
    has ended one way or the other, so the answer is final. A batch without events is told by the first answer that it
    keeps: a command that had nothing left to do appends nothing, but its answer is kept under its key.
    """
    first = batch.answers[:1] if not batch.events else []
    _, kept = await take_head(connection, [(answer.caller, answer.key) for answer in first])
    try:
        if first:
            return kept == first
        event = batch.events[0]
        cursor = await connection.execute(_LANDED, (event.stream, event.version, event.metadata.decode()))
        return await cursor.fetchone() is not None
    finally:
        await connection.execute(b"ROLLBACK")


def _statements(batch: Batch) -> list[tuple[bytes, Sequence[object]]]:
    statements: list[tuple[bytes, Sequence[object]]] = []
    if batch.events:
        statements.append((_APPEND, _event_arrays(batch.events)))
    # Released first: an address that one command gives up, the next in the same batch may take.
    if batch.released:
        statements.append((_RELEASE, (arrays.of_text(batch.released),)))
    if batch.claimed:
        statements.append((_CLAIM, (arrays.of_text(batch.claimed), arrays.of_text(batch.claimed.values()))))
    if batch.snapshots:
        statements.append(snapshots.keep(batch.snapshots))
    if batch.answers:
        statements.append(idempotency.keep(batch.answers))
    if batch.forget_keys:
        statements.append(idempotency.forget())
    return statements


def _event_arrays(events: Sequence[NewEvent]) -> tuple[object, ...]:
    streams, versions, types, schema_versions, occurred_ats, datas, metadatas = zip(*events, strict=True)
    return (
        len(events),
        len(events),
        arrays.of_text(streams),
        arrays.of_integers(arrays.INT4, versions),
        arrays.of_text(types),
        arrays.of_integers(arrays.INT2, schema_versions),
        arrays.of_times(occurred_ats),
        arrays.of_bytes(arrays.JSON, datas),
        arrays.of_bytes(arrays.JSON, metadatas),
    )
