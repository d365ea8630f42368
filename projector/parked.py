"""What operators do about parked streams: see what is held back and why, try again, or skip an event for good."""

from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import Connection, sql

from eventlog import read, skips
from projector.loop import CHECKPOINT, PAGE_EVENTS_MAX, Loop
from projector.parking import Parked, Parking
from readmodel import tables

_LISTED = sql.SQL(
    "SELECT stream, position, version, type, error, behind, skipped, parked_at, clock_timestamp() - parked_at, "
    "(SELECT max(event.version) FROM log.events AS event WHERE event.log_id = 0 AND event.stream = parked.stream) "
    "- version + 1 FROM {} AS parked WHERE NOT skipped ORDER BY position"
).format(sql.Identifier(tables.SCHEMA, "parked"))


_HOLD = "SELECT position FROM {checkpoint} WHERE name = %(name)s FOR UPDATE"
_FORGET = "DELETE FROM {parked} WHERE stream = %(stream)s"
_ONE_LESS = "UPDATE {checkpoint} SET parked = parked - 1 WHERE name = %(name)s"


class NotParked(Exception):
    """There is no such stream among the parked ones."""


class HeldBack(NamedTuple):
    """A parked stream, since when it is, and how many events it is without."""

    parked: Parked
    parked_at: datetime
    age: timedelta
    events: int


class Drained(NamedTuple):
    """What became of a parked stream: how many of its events were projected, and where it is parked now, if it is."""

    stream: str
    events: int
    parked: Parked | None


def held_back(connection: Connection) -> list[HeldBack]:
    """The parked streams, in the order of their first event that is missing."""
    rows = connection.execute(_LISTED).fetchall()
    return [HeldBack(Parked(*row[:7]), *row[7:]) for row in rows]


def retry(connection: Connection, stream: str | None = None, loop: Loop | None = None) -> list[Drained]:
    """Drain the parked stream (None: all of them), and what is parked behind those that get free.

    Live projection goes on meanwhile. Raises NotParked and psycopg.Error.
    """
    loop = loop or Loop()
    drained: list[Drained] = []
    if stream is not None:
        drained.append(drain(loop, connection, stream))
    free = {it.stream for it in drained if it.parked is None}
    # What waits for a row was appended after it. So in the order of positions, one pass is enough.
    waiting = [it.parked for it in held_back(connection)]
    drained.extend(drain(loop, connection, it.stream) for it in waiting if stream is None or it.behind in free)
    return drained


def skip(connection: Connection, stream: str, reason: str, by: str) -> tuple[Parked, Drained]:
    """Have the read tables do without the event that a stream is parked at, and drain the rest.

    Of a first event nothing can be left out without the rest: then the whole stream stays out. Returns the event, and
    what became of the rest. Raises NotParked and psycopg.Error.
    """
    loop = Loop()
    with loop.all_or_nothing(connection):
        _, _, parked = _hold(loop, connection, stream)
        skips.add(connection, parked.position, stream, parked.version, reason, by)
    return parked, drain(loop, connection, stream)


def drain(loop: Loop, connection: Connection, stream: str) -> Drained:
    """Project the events that a parked stream was held back from, in order, as far as the tables have come.

    Page by page: what was projected stays, whatever comes after it. Raises NotParked and psycopg.Error.
    """
    events = 0
    while True:
        done, parked, is_over = loop.narrowing.run(
            lambda limit: _drain_page(loop, connection, stream, limit), PAGE_EVENTS_MAX
        )
        events += done
        if is_over:
            return Drained(stream, events, parked)


def _drain_page(loop: Loop, connection: Connection, stream: str, limit: int) -> tuple[int, Parked | None, bool]:
    """How many events were projected, where the stream is parked now, and whether that was all."""
    with loop.all_or_nothing(connection):
        up_to, parking, parked = _hold(loop, connection, stream)
        if parked.skipped:
            return 0, parked, True
        parking.release(stream)
        # One more than is projected tells where to go on.
        events = read.stream_page(connection, stream, parked.version, up_to, limit + 1)
        taken, left = events[:limit], events[limit:]
        loop.fold(taken, parking)
        loop.write(connection, len(taken), parked.position)
        now = parking.get(stream)
        if now is None and left:
            parking.park(left[0], "drained as far as this; a retry goes on")
        elif now is None:
            for statement in (_FORGET, _ONE_LESS):
                connection.execute(_in(loop.schema, statement), {"stream": stream, "name": CHECKPOINT})
        parking.write(connection, loop.schema)
    loop.narrowing.passed(up_to)
    done = sum(now is None or event.version < now.version for event in taken)
    return done, now, now is not None or not left


def _hold(loop: Loop, connection: Connection, stream: str) -> tuple[int, Parking, Parked]:
    """Wait for the checkpoint and hold it; return where it is, what matters to the stream, and where that is parked."""
    row = connection.execute(_in(loop.schema, _HOLD), {"name": CHECKPOINT}).fetchone()
    assert row is not None, "the migration made the checkpoint"
    parking = Parking.load_for(connection, loop.schema, stream, row[0], loop.narrowing.given_up)
    parked = parking.get(stream)
    if parked is None:
        raise NotParked(f"{stream} is not parked")
    return row[0], parking, parked


def _in(schema: str, statement: str) -> sql.Composed:
    return sql.SQL(statement).format(
        checkpoint=sql.Identifier(schema, "checkpoint"), parked=sql.Identifier(schema, "parked")
    )
