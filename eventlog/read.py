"""Reading the log: a stream's history for the write side, pages in order for everybody else."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from psycopg import AsyncConnection, Connection

from eventlog import arrays

# For each stream: its snapshot, if one of the right shape is there, and the first events behind it. One look-up in an
# index each, of bounded cost however long the stream is. LATERAL with LIMIT or ORDER BY leaves the planner no other
# way, whatever it believes of tables that it has no statistics of yet.
_HISTORIES = b"""
SELECT wanted.stream, snapshot.version, snapshot.state::text, event.version, event.type, event.schema_version,
       event.occurred_at, event.data::text
FROM unnest(%b, %b) AS wanted (stream, shape)
LEFT JOIN LATERAL (
    SELECT version, state FROM log.snapshots
    WHERE log_id = 0 AND stream = wanted.stream AND shape = wanted.shape LIMIT 1
) AS snapshot ON true
LEFT JOIN LATERAL (
    SELECT version, type, schema_version, occurred_at, data FROM log.events
    WHERE log_id = 0 AND stream = wanted.stream AND version > coalesce(snapshot.version, 0) ORDER BY version
    LIMIT %b
) AS event ON true
"""

# The version that a stream has reached, and its snapshot.
_BASE = b"""
SELECT coalesce(last.version, 0), coalesce(snapshot.version, 0), snapshot.state::text
FROM (SELECT max(version) AS version FROM log.events WHERE log_id = 0 AND stream = %s) AS last
LEFT JOIN log.snapshots AS snapshot ON log_id = 0 AND stream = %s AND shape = %s
"""

# A page of a stream, bounded by events and by bytes; the first event comes however large it is.
_PAST = b"""
SELECT version, type, schema_version, occurred_at, data FROM (
    SELECT version, type, schema_version, occurred_at, data,
        sum(octet_length(data)) OVER (ORDER BY version) - octet_length(data) AS bytes_before
    FROM (
        SELECT version, type, schema_version, occurred_at, data::text AS data FROM log.events
        WHERE log_id = 0 AND stream = %s AND version > %s ORDER BY version LIMIT %s
    ) AS first
) AS page
WHERE bytes_before < %s ORDER BY version
"""

_CLAIMS = b"SELECT claim, stream FROM log.claims WHERE log_id = 0 AND claim = ANY(%b)"

# One text for the whole page, read in one go: a row for each event costs several times as much on this side.
# Neither stream nor type needs escaping, which the table's constraint `names_need_no_escaping` sees to.
_PAGE = b"""
SELECT '[' || string_agg(event, ',') || ']' FROM (
    SELECT '[' || position || ',"' || stream || '",' || version || ',"' || type || '",' || schema_version || ',"'
        || occurred_at || '",' || data || ']' AS event
    FROM log.events WHERE log_id = 0 AND position > %s AND position <= %s ORDER BY position
) AS page
"""

_ROWS = b"""
SELECT position, stream, version, type, schema_version, occurred_at::text, data::text FROM log.events
WHERE log_id = 0 AND position > %s AND position <= %s ORDER BY position
"""

_STREAM_ROWS = b"""
SELECT position, stream, version, type, schema_version, occurred_at::text, data::text FROM log.events
WHERE log_id = 0 AND stream = %s AND version >= %s AND position <= %s ORDER BY version LIMIT %s
"""


class PastEvent(NamedTuple):
    """An event as it is stored, in its stream."""

    version: int
    type: str
    schema_version: int
    occurred_at: datetime
    data: str


class History(NamedTuple):
    """What a stream's state is made of: `state` (JSON, or None) is as of `version`, `events` are those behind it."""

    version: int
    state: str | None
    events: Sequence[PastEvent]


class StoredEvent(NamedTuple):
    """An event as it is stored, in the log. `occurred_at` is PostgreSQL's text of it, in UTC; `data` is JSON."""

    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    occurred_at: str
    data: msgspec.Raw


_decode_page = msgspec.json.Decoder(list[StoredEvent]).decode


async def histories(
    connection: AsyncConnection, shapes: Mapping[str, int], events_max: int = 2**31 - 1
) -> dict[str, History]:
    """The history of each stream that exists, with the first `events_max` events behind its snapshot.

    `shapes` maps the streams wanted to the shape of state that is readable.
    """
    found: dict[str, History] = {}
    wanted = (arrays.of_text(shapes), arrays.of_integers(arrays.INT8, list(shapes.values())), events_max)
    cursor = await connection.execute(_HISTORIES, wanted)
    for stream, at, state, *event in await cursor.fetchall():
        if at is None and event[0] is None:
            continue
        history = found.get(stream)
        if history is None:
            history = found[stream] = History(at or 0, state, [])
        if event[0] is not None:
            history.events.append(PastEvent(*event))  # type: ignore[attr-defined]
    return found


async def base(connection: AsyncConnection, stream: str, shape: int) -> tuple[int, History]:
    """The version that the stream has reached, and where its history begins: the snapshot without the events."""
    row = await (await connection.execute(_BASE, (stream, stream, shape))).fetchone()
    assert row is not None, "an aggregate is always one row"
    last, version, state = row
    return last, History(version, state, [])


async def past(
    connection: AsyncConnection, stream: str, after: int, events_max: int, bytes_max: int
) -> list[PastEvent]:
    """The stream's next events behind version `after`, in order: a page of so many events and about so many bytes."""
    cursor = await connection.execute(_PAST, (stream, after, events_max, bytes_max))
    return [PastEvent(*row) for row in await cursor.fetchall()]


async def claims(connection: AsyncConnection, wanted: Iterable[str]) -> dict[str, str]:
    """Which stream has each of the claims; a claim that nobody has is left out."""
    cursor = await connection.execute(_CLAIMS, (arrays.of_text(wanted),))
    return dict(await cursor.fetchall())


def page(connection: Connection, after: int, up_to: int) -> list[StoredEvent]:
    """The events at positions after < position <= up_to, in order."""
    row = connection.execute(_PAGE, (after, up_to), binary=True).fetchone()
    if not row or not row[0]:
        return []
    try:
        return _decode_page(row[0])
    except (msgspec.DecodeError, UnicodeDecodeError):
        # PostgreSQL takes JSON that is none, such as half a surrogate pair. One by one, each is as good as it is.
        return [_stored(*event) for event in connection.execute(_ROWS, (after, up_to)).fetchall()]


def stream_page(connection: Connection, stream: str, version: int, up_to: int, limit: int) -> list[StoredEvent]:
    """The stream's first `limit` events from `version` on, in order, up to position `up_to`."""
    rows = connection.execute(_STREAM_ROWS, (stream, version, up_to, limit)).fetchall()
    return [_stored(*event) for event in rows]


def _stored(
    position: int, stream: str, version: int, type_name: str, schema_version: int, occurred_at: str, data: str
) -> StoredEvent:
    return StoredEvent(position, stream, version, type_name, schema_version, occurred_at, msgspec.Raw(data.encode()))
