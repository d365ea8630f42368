"""Reading the log: a stream's history for the write side, pages in order for everybody else."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from psycopg import AsyncConnection, Connection

from eventlog import pages

# For each stream: its snapshot, if one of the right shape is there, and the first events behind it. LATERAL with LIMIT
# or ORDER BY leaves the planner no other way than one look-up in an index each, whatever it believes of the tables. A
# state, which may be large, is in the stream's first row alone.
_HISTORIES = b"""
SELECT wanted.stream, snapshot.version,
       CASE WHEN coalesce(event.version, snapshot.version + 1) = snapshot.version + 1 THEN snapshot.state::text END,
       event.version, event.type, event.schema_version, event.occurred_at, event.data::text
FROM unnest(%b::text[], %b::int8[]) AS wanted (stream, shape)
LEFT JOIN LATERAL (
    SELECT version, state FROM log.snapshots
    WHERE stream = wanted.stream AND shape = wanted.shape LIMIT 1
) AS snapshot ON true
LEFT JOIN LATERAL (
    SELECT version, type, schema_version, occurred_at, data FROM log.events
    WHERE stream = wanted.stream AND version > coalesce(snapshot.version, 0) ORDER BY version
    LIMIT %b
) AS event ON true
"""

# A page of a stream.
_PAST = f"""
SELECT version, type, schema_version, occurred_at, data::text FROM ({
    pages.bounded(
        "stream = %(stream)s AND version > %(after)s ORDER BY version LIMIT %(events_max)s",
        "version",
        "%(bytes_max)s::bigint",
    )
}) AS event ORDER BY version
""".encode()  # noqa: S608 - put together from constants

_CLAIMS = b"SELECT claim, stream FROM log.claims WHERE claim = ANY(%b::text[])"

# Null: of all types.
_OF_TYPES = "(%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))"

# The first events of a range: see eventlog/pages.py.
_FIRST = pages.bounded(
    f"position > %(after)s AND position <= %(up_to)s AND {_OF_TYPES}", "position", "%(bytes_max)s::bigint"
)

# One text for the whole page, read in one go: a row for each event costs several times as much on this side. Lines, not
# an array: to put brackets around so large a text, PostgreSQL would copy it twice.
# Neither stream nor type needs escaping, which the table's constraint `names_need_no_escaping` sees to. The casts make
# `||` that of texts, also where a database has implicit casts of its own.
_PAGE = f"""
SELECT string_agg('[' || position::text || ',"' || stream || '",' || version::text || ',"' || type || '",'
    || schema_version::text || ',"' || occurred_at::text || '",' || data::text || ']', E'\\n' ORDER BY position)
FROM ({_FIRST}) AS event
""".encode()  # noqa: S608 - put together from constants


def _rows_of(events: str) -> bytes:
    return f"""
SELECT position, stream, version, type, schema_version, occurred_at::text, data::text
FROM ({events}) AS event ORDER BY position
""".encode()  # noqa: S608 - put together from constants


_ROWS = _rows_of(_FIRST)

# The text is made for each group, not for each event, and `date_bin` needs no calendar: together 40 % less CPU time.
_COUNTS = b"""
SELECT minute::text, type, events, first, last FROM (
    SELECT date_bin('1 minute', recorded_at, 'epoch') AS minute, type, count(*) AS events, min(position) AS first,
        max(position) AS last
    FROM log.events WHERE position > %s AND position <= %s GROUP BY 1, 2
) AS counted ORDER BY first
"""

_AGE = b"""
SELECT greatest(0, extract(epoch FROM clock_timestamp() - recorded_at))::float8 FROM log.events WHERE position = %s
"""

# The events of some streams, each from a version on. `+ 0` keeps the planner from walking the log for each stream.
_OF_STREAMS = f"""(
    SELECT event.*
    FROM unnest(%(streams)s::text[], %(versions)s::integer[]) AS wanted (stream, version) CROSS JOIN LATERAL (
        SELECT * FROM log.events
        WHERE stream = wanted.stream AND version >= wanted.version
            AND position + 0 > %(after)s AND position + 0 <= %(up_to)s
            AND {_OF_TYPES}
        ORDER BY version LIMIT %(each)s
    ) AS event ORDER BY event.position LIMIT %(limit)s
) AS event"""  # noqa: S608 - put together from constants
_ROWS_OF_STREAMS = _rows_of(pages.bounded("true", "position", "%(bytes_max)s::bigint", _OF_STREAMS))
_WITHOUT_DATA = f"""
SELECT position, stream, version, type, schema_version, occurred_at::text, '' FROM {_OF_STREAMS} ORDER BY position
""".encode()  # noqa: S608 - put together from constants


class PastEvent(NamedTuple):
    version: int
    type: str
    schema_version: int
    occurred_at: datetime
    data: str


class History(NamedTuple):
    """The parts of a stream's state: `state` (JSON, or None) is as of `version`, `events` are those behind it."""

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


class EventCount(NamedTuple):
    """How many events of a type were appended in a minute (PostgreSQL's text, in UTC), between which positions."""

    minute: str
    type: str
    events: int
    first_position: int
    last_position: int


# Names of event types; None: all.
Types = Collection[str] | None

_decode_page = msgspec.json.Decoder(StoredEvent).decode_lines


async def histories(
    connection: AsyncConnection, shapes: Mapping[str, int], events_max: int = 2**31 - 1
) -> dict[str, History]:
    """The history of each stream that exists, with the first `events_max` events behind its snapshot.

    `shapes` maps the streams wanted to the shape of state that is readable.
    """
    found: dict[str, History] = {}
    wanted = (list(shapes), list(shapes.values()), events_max)
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


async def past(
    connection: AsyncConnection, stream: str, after: int, events_max: int, bytes_max: int
) -> list[PastEvent]:
    """The stream's next events behind version `after`, in order: a page of so many events and about so many bytes."""
    parameters = {"stream": stream, "after": after, "events_max": events_max, "bytes_max": bytes_max}
    cursor = await connection.execute(_PAST, parameters)
    return [PastEvent(*row) for row in await cursor.fetchall()]


async def claims(connection: AsyncConnection, wanted: Iterable[str]) -> dict[str, str]:
    """The stream that owns each claim; claims without an owner are left out."""
    cursor = await connection.execute(_CLAIMS, (list(wanted),))
    return dict(await cursor.fetchall())


def page(
    connection: Connection, after: int, up_to: int, types: Types = None, bytes_max: int = 2**62
) -> list[StoredEvent]:
    """The first events at positions after < position <= up_to, in order; only those of `types`, if they are given.

    They have about `bytes_max` bytes of data at most, but it is always one event, if there is one.
    """
    parameters = {"after": after, "up_to": up_to, "types": types and list(types), "bytes_max": bytes_max}
    row = connection.execute(_PAGE, parameters, binary=True).fetchone()
    if not row or not row[0]:
        return []
    try:
        return _decode_page(row[0])
    except (msgspec.DecodeError, UnicodeDecodeError):
        # PostgreSQL takes JSON that is none, such as half a surrogate pair. One by one, each is as good as it is.
        rows = connection.execute(_ROWS, parameters).fetchall()
        return [_stored(*event) for event in rows]


def counts(connection: Connection, after: int, up_to: int) -> list[EventCount]:
    """The events at positions after < position <= up_to, counted by minute and type."""
    return [EventCount(*row) for row in connection.execute(_COUNTS, (after, up_to)).fetchall()]


def age(connection: Connection, position: int) -> float:
    """How long ago the event was appended, in seconds, by the database's clock."""
    row = connection.execute(_AGE, (position,)).fetchone()
    assert row is not None, "positions have no holes"
    return float(row[0])


def of_streams(
    connection: Connection,
    versions: Mapping[str, int],
    after: int,
    up_to: int,
    *,
    each: int,
    limit: int,
    types: Types,
    bytes_max: int | None,
) -> list[StoredEvent]:
    """The events of some streams, in order.

    `versions` maps each stream to the version to begin with. At most `each` events of a stream and `limit` in all, at
    positions after < position <= up_to; only those of `types`, if they are given. They have about `bytes_max` bytes of
    data at most, but it is always one event; None: without their data.
    """
    parameters = {
        "streams": list(versions),
        "versions": list(versions.values()),
        "after": after,
        "up_to": up_to,
        "types": types and list(types),
        "each": each,
        "limit": limit,
        "bytes_max": bytes_max,
    }
    rows = connection.execute(_WITHOUT_DATA if bytes_max is None else _ROWS_OF_STREAMS, parameters).fetchall()
    return [_stored(*event) for event in rows]


def _stored(
    position: int, stream: str, version: int, type_name: str, schema_version: int, occurred_at: str, data: str
) -> StoredEvent:
    return StoredEvent(position, stream, version, type_name, schema_version, occurred_at, msgspec.Raw(data.encode()))
