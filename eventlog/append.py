"""Appending to the log: take the head, add events and what belongs to them, commit; all in one transaction.

A writer holds the row of `log.head` from before it decides until it has committed. So the states that it decides on
cannot change meanwhile, positions follow the order of commits, and positions have no holes.
"""

from collections.abc import Collection, Sequence

from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import Diagnostic

from database.sessions import only_row
from eventlog import idempotency, snapshots
from eventlog.batch import Batch, NewEvent
from eventlog.idempotency import KeptAnswer

_HEAD = b"SELECT position FROM log.head ORDER BY position_group DESC LIMIT 1 FOR UPDATE"

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
       event.occurred_at, head.recorded_at, event.data::json, event.metadata::json
FROM head, unnest(%b::text[], %b::int4[], %b::text[], %b::int2[], %b::timestamptz[], %b::text[], %b::text[])
    WITH ORDINALITY AS event (stream, version, type, schema_version, occurred_at, data, metadata, number)
"""

_CLAIM = b"INSERT INTO log.claims (claim, stream) SELECT * FROM unnest(%b::text[], %b::text[])"

_RELEASE = b"DELETE FROM log.claims WHERE claim = ANY(%b::text[])"

# The command id in the metadata tells this event from another command's event at the same version.
_LANDED = b"""
SELECT FROM log.events WHERE stream = %s AND version = %s AND metadata::text = %s
"""


# The function of PostgreSQL (replication/syncrep.c) that warns beside a COMMIT. Warnings of triggers have its SQLSTATE.
WAITS_FOR_STANDBY = "SyncRepWaitForLSN"


async def take_head(
    connection: AsyncConnection, keys: Collection[tuple[bytes, str]] = ()
) -> tuple[int, list[KeptAnswer]]:
    """Begin a transaction and wait for the head: until commit or rollback no other session appends.

    Returns the log's last position. The same round trip finds the answers that are kept under the Idempotency-Keys
    `keys`, which are (caller, key) pairs.
    """
    if not keys:
        cursor = await connection.execute(b"BEGIN;" + _HEAD, prepare=False)
        cursor.nextset()
        return await _position(cursor), []
    async with connection.pipeline():
        await connection.execute(b"BEGIN")
        cursor = await connection.execute(_HEAD)
        # It runs once the head is taken, so it sees the answers that the last holder of the head has kept.
        found = await idempotency.find(connection, keys)
    return await _position(cursor), [KeptAnswer(*row) for row in await found.fetchall()]


async def _position(head: AsyncCursor) -> int:
    return int(only_row(await head.fetchone())[0])


async def changed_streams(connection: AsyncConnection, after: int, up_to: int) -> list[str]:
    """The streams that have events at positions after < position <= up_to."""
    cursor = await connection.execute(_CHANGED_SINCE, (after, up_to))
    return [stream for (stream,) in await cursor.fetchall()]


class Unreplicated(Exception):
    """The wait for the standby was cancelled: the commit is local, and is lost if the standby is promoted."""


async def append(connection: AsyncConnection, batch: Batch) -> None:
    """Append `batch` behind the head, which must be held (`take_head`), and commit.

    When this returns, all of it is durable. It is one round trip: PostgreSQL skips the COMMIT when a statement before
    it failed. Raises psycopg.Error and Unreplicated. After a lost connection, ask `landed`.
    """
    reported_by: list[str | None] = []

    def hear(warning: Diagnostic) -> None:
        reported_by.append(warning.source_function)  # gone when this returns

    connection.add_notice_handler(hear)
    try:
        async with connection.pipeline():
            for query, params in statements(batch):
                await connection.execute(query, params)
            await connection.execute(b"COMMIT")
    finally:
        connection.remove_notice_handler(hear)
    if WAITS_FOR_STANDBY in reported_by:
        raise Unreplicated("the wait of the commit for its standby was cancelled")


async def landed(connection: AsyncConnection, batch: Batch) -> bool:
    """Whether `batch`, which has an event or an answer to keep, was committed.

    Call it on a new connection when the old one broke at COMMIT. Taking the head waits until the old transaction has
    ended, so the result is final. A batch without events is found by the first answer that it keeps.
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


def statements(batch: Batch) -> list[tuple[bytes, Sequence[object]]]:
    """The statements that write the batch, each with its parameters."""
    statements: list[tuple[bytes, Sequence[object]]] = []
    if batch.events:
        statements.append((_APPEND, _columns(batch.events)))
    # Releases come first: one command may give up an address, and the next one in the batch may claim it.
    if batch.released:
        statements.append((_RELEASE, (list(batch.released),)))
    if batch.claimed:
        statements.append((_CLAIM, (list(batch.claimed), list(batch.claimed.values()))))
    if batch.snapshots:
        statements.append(snapshots.keep(batch.snapshots))
    if batch.answers:
        statements.append(idempotency.keep(batch.answers))
    if batch.forget_keys:
        statements.append(idempotency.forget())
    return statements


def _columns(events: Sequence[NewEvent]) -> tuple[object, ...]:
    """The parameters of _APPEND: a list for each column."""
    *columns, datas, metadatas = map(list, zip(*events, strict=True))
    json = ([document.decode() for document in documents] for documents in (datas, metadatas))
    return (len(events), len(events), *columns, *json)
