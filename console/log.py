"""Finding events for a page: newest first, by type, stream and time, without a scan of the log.

The log has two indexes: position, and (stream, version). A stream is read by the second one. A type or a time is
looked up in the projection `activity`, which knows between which positions the events of each minute and type are;
then only those positions are read. Events that `activity` does not have yet are read one by one, as far as a budget.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Connection

PAGE_EVENTS = 50
# The most positions that one page reads; the next page goes on from there.
POSITIONS_MAX = 100_000
# The most events of a stream that one page reads.
STREAM_EVENTS_MAX = 5_000
MINUTES_AT_ONCE = 2 * PAGE_EVENTS
# Larger data is not sent to the list.
DATA_SHOWN_MAX = 64 * 1024

_COLUMNS = """position, stream, version, type, schema_version, occurred_at, recorded_at, octet_length(data::text),
    CASE WHEN octet_length(data::text) <= 65536 THEN data::text END, metadata::text"""

_IN_RANGE = f"""
SELECT {_COLUMNS} FROM log.events
WHERE position BETWEEN %(first)s AND %(last)s AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))
    AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR recorded_at < %(until)s)
ORDER BY position {{order}} LIMIT %(limit)s
"""  # noqa: S608 - put together from constants

_OF_STREAM = f"""
SELECT * FROM (
    SELECT {_COLUMNS} FROM log.events
    WHERE stream = %(stream)s AND version BETWEEN %(first)s AND %(last)s ORDER BY version {{order}} LIMIT %(budget)s
) AS walked
WHERE (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))
    AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR recorded_at < %(until)s)
ORDER BY version {{order}} LIMIT %(limit)s
"""  # noqa: S608 - put together from constants

# The minutes that have events of the types, in order, from a minute on. One look-up in the index for each type.
_MINUTES = """
SELECT found.minute, sum(found.events), min(found.first_position), max(found.last_position)
FROM unnest(%(types)s::text[]) AS wanted (type) CROSS JOIN LATERAL (
    SELECT * FROM activity.events_per_minute AS counted
    WHERE counted.type = wanted.type AND minute BETWEEN %(from)s AND %(to)s ORDER BY minute {order} LIMIT %(limit)s
) AS found
GROUP BY found.minute ORDER BY found.minute {order} LIMIT %(limit)s
"""

_MINUTE_OF = b"SELECT date_trunc('minute', recorded_at, 'UTC') FROM log.events WHERE position = %s"

_FIRST_FROM = b"""
SELECT min(first_position) FROM activity.events_per_minute
WHERE minute = (SELECT minute FROM activity.events_per_minute WHERE minute >= %s ORDER BY minute LIMIT 1)
"""

_LAST_TO = b"""
SELECT max(last_position) FROM activity.events_per_minute
WHERE minute = (SELECT minute FROM activity.events_per_minute WHERE minute <= %s ORDER BY minute DESC LIMIT 1)
"""

_ENDS = b"SELECT head.position, checkpoint.position FROM log.head AS head, activity.checkpoint AS checkpoint"

_FIRST_MINUTE, _LAST_MINUTE = datetime.fromisoformat("0001-01-01T00:00Z"), datetime.fromisoformat("9999-12-31T00:00Z")


class Wanted(NamedTuple):
    """Which events a page shows: those of the types, of the stream, recorded from `since` until before `until`."""

    types: tuple[str, ...] = ()
    stream: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Event(NamedTuple):
    """An event as it is stored. `data` is JSON text, None when it is longer than DATA_SHOWN_MAX; `size` in bytes."""

    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    occurred_at: datetime
    recorded_at: datetime
    size: int
    data: str | None
    metadata: str


class Page(NamedTuple):
    """A page of events, newest first.

    `older` is where the next page goes on, `newer` where the one before it does; None: there is none. Both are
    positions, of a stream versions. `ended_early`: the budget ended the search, there may be more.
    """

    events: list[Event]
    older: int | None
    newer: int | None
    ended_early: bool = False


def page(connection: Connection, wanted: Wanted, before: int | None = None, after: int | None = None) -> Page:
    """The newest events that are wanted before a position, or the oldest after one."""
    backwards = after is None
    cursor = before if backwards else after
    if wanted.stream is not None:
        found, reached = _of_stream(connection, wanted, cursor, backwards=backwards)
    else:
        found, reached = _of_log(connection, wanted, cursor, backwards=backwards)
    more, shown = len(found) > PAGE_EVENTS or reached is not None, found[:PAGE_EVENTS]
    keys = [it.position if wanted.stream is None else it.version for it in shown]
    # Where the search goes on when it ended early, else behind the last event shown.
    onward = (keys[-1] if len(found) > PAGE_EVENTS or reached is None else reached) if more else None
    back = (keys[0] if keys else cursor) if cursor is not None else None
    if backwards:
        return Page(shown, onward, back, reached is not None)
    return Page(shown[::-1], back, onward, reached is not None)


def _of_stream(
    connection: Connection, wanted: Wanted, cursor: int | None, *, backwards: bool
) -> tuple[list[Event], int | None]:
    ends = (1, cursor - 1 if cursor else 2**31 - 1) if backwards else ((cursor or 0) + 1, 2**31 - 1)
    found = _fetch(connection, _OF_STREAM, wanted, ends, PAGE_EVENTS + 1, backwards=backwards)
    if len(found) > PAGE_EVENTS or not (wanted.types or wanted.since or wanted.until):
        return found, None
    # A filter may have left out all that the budget allowed to read.
    edge = ends[1] - STREAM_EVENTS_MAX if backwards else ends[0] + STREAM_EVENTS_MAX
    row = connection.execute(b"SELECT max(version) FROM log.events WHERE stream = %s", (wanted.stream,)).fetchone()
    last = row[0] if row and row[0] else 0
    if backwards:
        edge = min(ends[1], last) - STREAM_EVENTS_MAX
        return found, edge if edge > 0 else None
    return found, edge if edge < last else None


def _of_log(
    connection: Connection, wanted: Wanted, cursor: int | None, *, backwards: bool
) -> tuple[list[Event], int | None]:
    """The events, and where the search goes on if it ended early."""
    found: list[Event] = []
    budget = POSITIONS_MAX
    bounds = (1, cursor - 1 if cursor else 2**62) if backwards else ((cursor or 0) + 1, 2**62)
    for first, last in _ranges(connection, wanted, bounds, backwards=backwards):
        first, last = max(first, bounds[0]), min(last, bounds[1])  # noqa: PLW2901
        while first <= last and len(found) <= PAGE_EVENTS:
            if budget <= 0:
                return found, (last + 1 if backwards else first - 1)
            if wanted.types or wanted.since or wanted.until:
                some = (max(first, last - budget + 1), last) if backwards else (first, min(last, first + budget - 1))
            else:
                some = (first, last)
            found += _fetch(connection, _IN_RANGE, wanted, some, PAGE_EVENTS + 1 - len(found), backwards=backwards)
            budget -= some[1] - some[0] + 1
            first, last = (first, some[0] - 1) if backwards else (some[1] + 1, last)  # noqa: PLW2901
        if len(found) > PAGE_EVENTS:
            break
    return found, None


def _fetch(
    connection: Connection, statement: str, wanted: Wanted, ends: tuple[int, int], limit: int, *, backwards: bool
) -> list[Event]:
    values = {
        "first": ends[0],
        "last": ends[1],
        "stream": wanted.stream,
        "types": list(wanted.types) or None,
        "since": wanted.since,
        "until": wanted.until,
        "limit": limit,
        "budget": STREAM_EVENTS_MAX if wanted.types or wanted.since or wanted.until else limit,
    }
    text = statement.format(order="DESC" if backwards else "ASC").encode()
    return [Event(*row) for row in connection.execute(text, values, prepare=False).fetchall()]


def _ranges(
    connection: Connection, wanted: Wanted, bounds: tuple[int, int], *, backwards: bool
) -> Iterator[tuple[int, int]]:
    """The ranges of positions that may have wanted events, in the order of reading."""
    row = connection.execute(_ENDS).fetchone()
    head, counted = row or (0, 0)
    if not (wanted.types or wanted.since or wanted.until):
        yield 1, head
        return
    uncounted = (counted + 1, head)
    if backwards and head > counted and not (wanted.until and _counted_beyond(connection, wanted.until)):
        yield uncounted
    if wanted.types:
        yield from _minutes(connection, wanted, (bounds[0], min(bounds[1], head)), backwards=backwards)
    else:
        first = _one(connection, _FIRST_FROM, wanted.since - timedelta(minutes=1)) if wanted.since else 1
        last = _one(connection, _LAST_TO, wanted.until) if wanted.until else counted
        if first is not None and last is not None:
            yield first, last
    if not backwards and head > counted:
        yield uncounted


def _counted_beyond(connection: Connection, at: datetime) -> bool:
    """True if `activity` has a minute after this time: then all events before it are counted."""
    return _one(connection, _FIRST_FROM, at) is not None


def _minutes(
    connection: Connection, wanted: Wanted, bounds: tuple[int, int], *, backwards: bool
) -> Iterator[tuple[int, int]]:
    """The positions between which the events of the types are, minute by minute."""
    low = wanted.since - timedelta(minutes=1) if wanted.since else _FIRST_MINUTE
    high = wanted.until or _LAST_MINUTE
    if backwards:
        high = min(high, _one(connection, _MINUTE_OF, bounds[1]) or high)
    elif bounds[0] > 1:
        low = max(low, _one(connection, _MINUTE_OF, bounds[0] - 1) or low)
    text = _MINUTES.format(order="DESC" if backwards else "ASC").encode()
    while True:
        values = {"types": list(wanted.types), "from": low, "to": high, "limit": MINUTES_AT_ONCE}
        rows: Sequence[tuple[datetime, int, int, int]] = connection.execute(text, values, prepare=False).fetchall()
        for _, _, first, last in rows:
            yield first, last
        if len(rows) < MINUTES_AT_ONCE:
            return
        if backwards:
            high = rows[-1][0] - timedelta(minutes=1)
        else:
            low = rows[-1][0] + timedelta(minutes=1)


def _one(connection: Connection, statement: bytes, value: object) -> Any:
    row = connection.execute(statement, (value,)).fetchone()
    return row[0] if row else None
