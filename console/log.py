"""Finding events for a page: newest first, by type, stream and time, without a scan of the log.

The log has two indexes: position, and (stream, version). A stream is read by the second one. A time is found by binary
search over the positions. A type is looked up in the projection `activity`, which knows between which positions the
events of each minute and type are; then only those positions are read. One page reads a limited number of positions.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import Connection

from console import activity
from eventlog import moments
from eventlog.search import DECISION, DECISION_EVENTS_MAX, IN_RANGE, MINUTE_OF, OF_STREAM, ONE

PAGE_EVENTS = 50
# The most positions that one page reads; the next page goes on from there.
POSITIONS_MAX = 100_000
# The most events of a stream that one page reads.
STREAM_EVENTS_MAX = 5_000
MINUTES_AT_ONCE = 2 * PAGE_EVENTS

_FIRST_MINUTE, _LAST_MINUTE = datetime.fromisoformat("0001-01-01T00:00Z"), datetime.fromisoformat("9999-12-31T00:00Z")


class Wanted(NamedTuple):
    """Which events a page shows: those of the types, of the stream, recorded from `since` until before `until`."""

    types: tuple[str, ...] = ()
    stream: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Event(NamedTuple):
    """An event as it is stored. `data` is JSON text, None when it is too long; `size` in bytes."""

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
    """The newest events that are wanted before a position (of a stream: a version), or the oldest after one."""
    backwards = after is None
    cursor = before if backwards else after
    within = _positions(connection, wanted)
    read = _of_log if wanted.stream is None else _of_stream
    found, reached = read(connection, wanted, within, cursor, backwards=backwards)
    more, shown = len(found) > PAGE_EVENTS or reached is not None, found[:PAGE_EVENTS]
    keys = [it.position if wanted.stream is None else it.version for it in shown]
    # The next page goes on behind the last event shown, or where the budget ended the search.
    last = keys[-1] if len(found) > PAGE_EVENTS else reached
    onward = last if more else None
    back = (keys[0] if keys else cursor) if cursor is not None else None
    if backwards:
        return Page(shown, onward, back, reached is not None)
    return Page(shown[::-1], back, onward, reached is not None)


def _positions(connection: Connection, wanted: Wanted) -> tuple[int, int]:
    """Between which positions the wanted times are: found by binary search over the positions."""
    first = 1 if wanted.since is None else position_at(connection, wanted.since - timedelta(microseconds=1)) + 1
    last = 2**62 if wanted.until is None else position_at(connection, wanted.until - timedelta(microseconds=1))
    return first, last


def position_at(connection: Connection, time: datetime) -> int:
    """The last position that was recorded by a time; 0: none."""
    row = connection.execute(moments.POSITION, {"as_of": time}).fetchone()
    return row[0] if row else 0


def _of_stream(
    connection: Connection, wanted: Wanted, within: tuple[int, int], cursor: int | None, *, backwards: bool
) -> tuple[list[Event], int | None]:
    """The events of a stream. A filter may leave out all that the budget lets one page read; then it goes on there."""
    row = connection.execute(b"SELECT max(version) FROM log.events WHERE stream = %s", (wanted.stream,)).fetchone()
    last = row[0] if row and row[0] else 0
    low, high = (1, min(last, (cursor or last + 1) - 1)) if backwards else ((cursor or 0) + 1, last)
    found = _fetch(connection, OF_STREAM, wanted, (low, high), PAGE_EVENTS + 1, backwards=backwards, within=within)
    if len(found) > PAGE_EVENTS or high - low < STREAM_EVENTS_MAX:
        return found, None
    if not (wanted.types or wanted.since or wanted.until):
        return found, None
    return found, high - STREAM_EVENTS_MAX + 1 if backwards else low + STREAM_EVENTS_MAX - 1


def _of_log(
    connection: Connection, wanted: Wanted, within: tuple[int, int], cursor: int | None, *, backwards: bool
) -> tuple[list[Event], int | None]:
    """The events of the log, and where the search goes on if the budget ended it."""
    found: list[Event] = []
    budget, whole = POSITIONS_MAX, (0, 0)
    bounds = (1, cursor - 1) if backwards and cursor else ((cursor or 0) + 1, 2**62)
    bounds = max(bounds[0], within[0]), min(bounds[1], within[1])
    for low, high in _ranges(connection, wanted, bounds, backwards=backwards):
        first, last = max(low, bounds[0]), min(high, bounds[1])
        if first > last:
            continue
        if wanted.types:
            if budget <= 0:
                return found, (last + 1 if backwards else first - 1)
            whole = first, last
            first, last = (max(first, last - budget + 1), last) if backwards else (first, min(last, first + budget - 1))
            budget -= last - first + 1
        found += _fetch(connection, IN_RANGE, wanted, (first, last), PAGE_EVENTS + 1 - len(found), backwards=backwards)
        if len(found) > PAGE_EVENTS:
            break
        if wanted.types and (first, last) != whole:
            return found, (first if backwards else last)
    return found, None


def _fetch(
    connection: Connection,
    statement: str,
    wanted: Wanted,
    ends: tuple[int, int],
    limit: int,
    *,
    backwards: bool,
    within: tuple[int, int] = (1, 2**62),
) -> list[Event]:
    filtered = wanted.types or wanted.since or wanted.until
    values = {
        "first": ends[0],
        "last": ends[1],
        "stream": wanted.stream,
        "types": list(wanted.types) or None,
        "from_position": within[0],
        "to_position": within[1],
        "limit": limit,
        "budget": STREAM_EVENTS_MAX if filtered else limit,
    }
    text = statement.format(order="DESC" if backwards else "ASC").encode()
    return [Event(*row) for row in connection.execute(text, values, prepare=False).fetchall()]


def _ranges(
    connection: Connection, wanted: Wanted, bounds: tuple[int, int], *, backwards: bool
) -> Iterator[tuple[int, int]]:
    """The ranges of positions that may have wanted events, in the order of reading."""
    row = connection.execute(activity.ENDS).fetchone()
    head, counted = row or (0, 0)
    if not wanted.types:
        yield 1, head
        return
    uncounted = (counted + 1, head)
    if backwards and uncounted[0] <= min(head, bounds[1]):
        yield uncounted
    for first, last in _minutes(connection, wanted, (bounds[0], min(bounds[1], head)), backwards=backwards):
        yield first, min(last, counted)  # the range `uncounted` has the later events
    if not backwards and head > counted:
        yield uncounted


def _minutes(
    connection: Connection, wanted: Wanted, bounds: tuple[int, int], *, backwards: bool
) -> Iterator[tuple[int, int]]:
    """The positions between which the events of the types are, minute by minute."""
    low = _minute_of(connection, bounds[0], _FIRST_MINUTE)
    high = _minute_of(connection, bounds[1], _LAST_MINUTE)
    text = activity.MINUTES.format(order="DESC" if backwards else "ASC").encode()
    while True:
        values = {"types": list(wanted.types), "from": low, "to": high, "limit": MINUTES_AT_ONCE}
        rows = connection.execute(text, values, prepare=False).fetchall()
        for _, _, first, last in rows:
            yield first, last
        if len(rows) < MINUTES_AT_ONCE:
            return
        if backwards:
            high = rows[-1][0] - timedelta(minutes=1)
        else:
            low = rows[-1][0] + timedelta(minutes=1)


def _minute_of(connection: Connection, position: int, otherwise: datetime) -> datetime:
    row = connection.execute(MINUTE_OF, (position,)).fetchone()
    return row[0] if row else otherwise


def event(connection: Connection, position: int) -> Event | None:
    row = connection.execute(ONE, (position,)).fetchone()
    return Event(*row) if row else None


def decision(connection: Connection, of: Event) -> list[Event]:
    """The events of the decision that made this one, in order. A decision is contiguous in the log."""
    rows = connection.execute(DECISION, {"position": of.position, "reach": DECISION_EVENTS_MAX}).fetchall()
    return [Event(*row) for row in rows]
