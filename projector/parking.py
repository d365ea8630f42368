"""Parking: an event that cannot be projected holds back its own stream, and no other.

From that event on the stream is parked: the tables do without its events, which lose nothing by it, because they are in
the log. So a parked stream is one row, naming the first event that is missing. What refers to a row that is not there
for that reason (an order of such a user) parks behind it. Once the cause is mended, a retry projects what was held
back, in order; or an operator has the one event skipped. See docs/decisions/0013-a-bad-event-parks-its-stream.md.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from psycopg import Connection, sql

from eventlog import skips
from eventlog.read import StoredEvent
from projector.projections import REFERENCES, REFERRED_TO

_ALL = "SELECT stream, position, version, type, error, behind, skipped FROM {}"
# Beside a stream itself: the streams that are without a row that others may refer to. Not all, which may be very many.
_FOR_STREAM = _ALL + " WHERE stream = %s OR version = 1 AND split_part(stream, '-', 1) = ANY(%s)"

_UPSERT = """
INSERT INTO {} AS old (stream, position, version, type, error, behind, skipped, parked_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp())
ON CONFLICT (stream) DO UPDATE SET position = excluded.position, version = excluded.version, type = excluded.type,
    error = excluded.error, behind = excluded.behind, skipped = excluded.skipped
"""


class Parked(NamedTuple):
    """A stream that is held back, and the first of its events that the tables are without.

    `behind` is the stream whose row it waits for. `skipped`: its first event was, so nothing is to come of the rest.
    """

    stream: str
    position: int
    version: int
    type: str
    error: str
    behind: str | None
    skipped: bool


class Parking:
    """What is held back while one transaction projects. `any` is False as long as there is nothing to look for."""

    def __init__(
        self, parked: Iterable[Parked] = (), skipped: Iterable[int] = (), given_up: dict[int, str] | None = None
    ) -> None:
        self._parked = {it.stream: it for it in parked}
        self._skipped = frozenset(skipped)
        self._given_up = given_up or {}
        self.new: list[Parked] = []
        self.any = bool(self._parked or self._skipped or self._given_up)

    @classmethod
    def load(cls, connection: Connection, schema: str, after: int, up_to: int, given_up: dict[int, str]) -> Self:
        """What matters to the events at positions after < position <= up_to.

        `given_up` are positions of events that turned out not to be projectable, each with the error.
        """
        rows = connection.execute(sql.SQL(_ALL).format(sql.Identifier(schema, "parked"))).fetchall()
        return cls((Parked(*row) for row in rows), skips.positions(connection, after, up_to), given_up)

    @classmethod
    def load_for(cls, connection: Connection, schema: str, stream: str, up_to: int, given_up: dict[int, str]) -> Self:
        """What matters to the events of one stream up to a position."""
        statement = sql.SQL(_FOR_STREAM).format(sql.Identifier(schema, "parked"))
        rows = connection.execute(statement, (stream, list(REFERRED_TO))).fetchall()
        return cls((Parked(*row) for row in rows), skips.positions(connection, 0, up_to), given_up)

    @property
    def count(self) -> int:
        """How many streams are parked."""
        return len(self._parked)

    def get(self, stream: str) -> Parked | None:
        """The stream as it is parked."""
        return self._parked.get(stream)

    def release(self, stream: str) -> None:
        """Take the stream's events from here on."""
        del self._parked[stream]

    def holds_back(self, event: StoredEvent) -> bool:
        """Whether the event is not to be projected."""
        if event.stream in self._parked:
            return True
        if event.position in self._skipped:
            if event.version == 1:
                self.park(event, "skipped", skipped=True)
            return True
        error = self._given_up.get(event.position)
        if error is not None:
            self.park(event, error)
        return error is not None

    def missing(self, event: Any) -> str | None:
        """A stream whose row the event's rows refer to, and which is not there because its first event is not."""
        references = REFERENCES.get(type(event))
        if references is None:
            return None
        for stream in references(event):
            parked = self._parked.get(stream)
            if parked is not None and parked.version == 1:
                return stream
        return None

    def park(self, event: StoredEvent, error: str, *, behind: str | None = None, skipped: bool = False) -> None:
        """Hold the stream back, from this event on."""
        parked = Parked(event.stream, event.position, event.version, event.type, error, behind, skipped)
        self._parked[event.stream] = parked
        self.new.append(parked)
        self.any = True

    def write(self, connection: Connection, schema: str) -> None:
        """Write down what was parked since this was loaded."""
        if self.new:
            upsert = sql.SQL(_UPSERT).format(sql.Identifier(schema, "parked"))
            connection.cursor().executemany(upsert, self.new)
