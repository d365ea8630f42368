"""Finding events for a page: newest first, by type, stream and time, without a scan of the log.

The log has two indexes: position, and (stream, version). A stream is read by the second one. A time is found by binary
search over the positions. A type is looked up in the projection `activity`, which knows between which positions the
events of each minute and type are; then only those positions are read. One page reads a limited number of positions.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

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
_END = 2**62  # behind every position

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
    search = _Search(connection, wanted, backwards=backwards)
    found, reached = search.of_log(cursor) if wanted.stream is None else search.of_stream(cursor)
    shown = found[:PAGE_EVENTS]
    keys = [it.position if wanted.stream is None else it.version for it in shown]
    # The next page goes on behind the last event shown, or where the budget ended the search.
    onward = keys[-1] if len(found) > PAGE_EVENTS else reached
    back = (keys[0] if keys else cursor) if cursor is not None else None
    if backwards:
        return Page(shown, onward, back, reached is not None)
    return Page(shown[::-1], back, onward, reached is not None)


def position_at(connection: Connection, time: datetime) -> int:
    """The last position that was recorded by a time; 0: none."""
    row = connection.execute(moments.POSITION, {"as_of": time}).fetchone()
    return row[0] if row else 0


class _Search:
    """A search for the events of one page and for one more, which shows that there is a next page."""

    def __init__(self, connection: Connection, wanted: Wanted, *, backwards: bool) -> None:
        self._connection = connection
        self._wanted = wanted
        self._backwards = backwards
        # Between these positions the wanted times are.
        self._from = 1 if wanted.since is None else self._before(wanted.since) + 1
        self._to = _END if wanted.until is None else self._before(wanted.until)

    def _before(self, time: datetime) -> int:
        return position_at(self._connection, time - timedelta(microseconds=1))

    def of_stream(self, cursor: int | None) -> tuple[list[Event], int | None]:
        """The events of a stream, and where the search goes on if the budget ended it."""
        statement = b"SELECT coalesce(max(version), 0) FROM log.events WHERE stream = %s"
        ((last,),) = self._connection.execute(statement, (self._wanted.stream,)).fetchall()
        low, high = (1, min(last, (cursor or last + 1) - 1)) if self._backwards else ((cursor or 0) + 1, last)
        found = self._fetch(OF_STREAM, low, high, PAGE_EVENTS + 1)
        if len(found) > PAGE_EVENTS or high - low < STREAM_EVENTS_MAX or not self._is_filtered:
            return found, None
        return found, high - STREAM_EVENTS_MAX + 1 if self._backwards else low + STREAM_EVENTS_MAX - 1

    def of_log(self, cursor: int | None) -> tuple[list[Event], int | None]:
        """The events of the log, and where the search goes on if the budget ended it."""
        found: list[Event] = []
        budget = POSITIONS_MAX if self._wanted.types else _END
        low, high = (1, cursor - 1) if self._backwards and cursor else ((cursor or 0) + 1, _END)
        low, high = max(low, self._from), min(high, self._to)
        for start, end in self._ranges(low, high):
            first, last = max(start, low), min(end, high)
            if first > last:
                continue
            reach = (max(first, last - budget + 1), last) if self._backwards else (first, min(last, first + budget - 1))
            found += self._fetch(IN_RANGE, *reach, PAGE_EVENTS + 1 - len(found))
            if len(found) > PAGE_EVENTS:
                break
            if reach != (first, last):
                return found, reach[0] if self._backwards else reach[1]
            budget -= last - first + 1
        return found, None

    @property
    def _is_filtered(self) -> bool:
        return bool(self._wanted.types or self._wanted.since or self._wanted.until)

    def _fetch(self, statement: str, first: int, last: int, limit: int) -> list[Event]:
        values = {
            "first": first,
            "last": last,
            "stream": self._wanted.stream,
            "types": list(self._wanted.types) or None,
            "from_position": self._from,
            "to_position": self._to,
            "limit": limit,
            "budget": STREAM_EVENTS_MAX if self._is_filtered else limit,
        }
        return [Event(*row) for row in self._rows(statement, values)]

    def _rows(self, statement: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        text = statement.format(order="DESC" if self._backwards else "ASC").encode()
        return self._connection.execute(text, values, prepare=False).fetchall()

    def _ranges(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """The ranges of positions that may have wanted events, in the order of reading."""
        head, counted = self._connection.execute(activity.ENDS).fetchone() or (0, 0)
        if not self._wanted.types:
            yield 1, head
            return
        if self._backwards:
            yield counted + 1, head
        for first, last in self._minutes(low, min(high, head)):
            yield first, min(last, counted)  # the range behind `counted` has the later events
        if not self._backwards:
            yield counted + 1, head

    def _minutes(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """The positions between which the events of the types are, minute by minute."""
        values = {
            "types": list(self._wanted.types),
            "from": self._minute_of(low, _FIRST_MINUTE),
            "to": self._minute_of(high, _LAST_MINUTE),
            "limit": MINUTES_AT_ONCE,
        }
        while True:
            rows = self._rows(activity.MINUTES, values)
            for _, _, first, last in rows:
                yield first, last
            if len(rows) < MINUTES_AT_ONCE:
                return
            if self._backwards:
                values["to"] = rows[-1][0] - timedelta(minutes=1)
            else:
                values["from"] = rows[-1][0] + timedelta(minutes=1)

    def _minute_of(self, position: int, otherwise: datetime) -> datetime:
        row = self._connection.execute(MINUTE_OF, (position,)).fetchone()
        return row[0] if row else otherwise


def event(connection: Connection, position: int) -> Event | None:
    row = connection.execute(ONE, (position,)).fetchone()
    return Event(*row) if row else None


def decision(connection: Connection, of: Event) -> list[Event]:
    """The events of the decision that made this one, in order. A decision is contiguous in the log."""
    rows = connection.execute(DECISION, {"position": of.position, "reach": DECISION_EVENTS_MAX}).fetchall()
    return [Event(*row) for row in rows]
