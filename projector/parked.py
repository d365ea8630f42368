"""What operators do about parked streams: see what is held back and why, try again, or skip an event for good."""

from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import Connection, sql

from projector.loop import Drained, Loop
from projector.parking import Parked
from readmodel import tables

_LISTED = sql.SQL(
    "SELECT stream, position, version, type, error, behind, skipped, parked_at, clock_timestamp() - parked_at, "
    "(SELECT max(event.version) FROM log.events AS event WHERE event.log_id = 0 AND event.stream = parked.stream) "
    "- version + 1 FROM {} AS parked WHERE NOT skipped ORDER BY position"
).format(sql.Identifier(tables.SCHEMA, "parked"))


class HeldBack(NamedTuple):
    """A parked stream, since when it is, and how many events it is without."""

    parked: Parked
    parked_at: datetime
    age: timedelta
    events: int


class Outcome(NamedTuple):
    """What became of a stream that was tried again."""

    stream: str
    drained: Drained


def held_back(connection: Connection) -> list[HeldBack]:
    """The parked streams, in the order of their first event that is missing."""
    rows = connection.execute(_LISTED).fetchall()
    return [HeldBack(Parked(*row[:7]), *row[7:]) for row in rows]


def retry(connection: Connection, stream: str | None = None, loop: Loop | None = None) -> list[Outcome]:
    """Drain the parked stream (None: all of them), and what is parked behind those that get free.

    Each in a transaction of its own; live projection goes on between them. Raises NotParked and psycopg.Error.
    """
    loop = loop or Loop()
    outcomes: list[Outcome] = []
    free: set[str] = set()
    if stream is not None:
        outcomes.append(Outcome(stream, loop.drain(connection, stream)))
        if outcomes[0].drained.parked is None:
            free.add(stream)
    # What waits for a row was appended after it. So in the order of positions, one pass is enough.
    for held in held_back(connection):
        if stream is None or held.parked.behind in free:
            outcome = Outcome(held.parked.stream, loop.drain(connection, held.parked.stream))
            outcomes.append(outcome)
    return outcomes


def skip(connection: Connection, stream: str, reason: str, by: str) -> tuple[Parked, Drained]:
    """Have the read tables do without the event that a stream is parked at, and drain the rest.

    Of a first event nothing can be left out without the rest: then the whole stream stays out. Returns the event, and
    what became of the rest. Raises NotParked and psycopg.Error.
    """
    loop = Loop()
    skipped = loop.skip(connection, stream, reason, by)
    return skipped, loop.drain(connection, stream)
