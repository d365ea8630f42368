"""What operators do about parked streams: see what is held back and why, try again, or skip an event for good."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import Connection, sql

from eventlog import read, skips
from projector.loop import Loop
from projector.parking import Parked, Parking
from projector.projection import Projection

# One transaction of a retry: so many streams, so many events. It holds the checkpoint, and live projection waits.
STREAMS_A_BATCH = 500
EVENTS_A_BATCH = 500

_LISTED = """
SELECT stream, position, version, type, error, behind, skipped, parked_at, clock_timestamp() - parked_at,
    (SELECT max(event.version) FROM log.events AS event WHERE event.stream = parked.stream) - version + 1
FROM {} AS parked WHERE NOT skipped ORDER BY position
"""

_WAITING = "SELECT stream, behind, type, {cause} FROM {table} WHERE NOT skipped ORDER BY position"

_NEXT = "SELECT stream, position FROM {} WHERE NOT skipped AND position > %s ORDER BY position LIMIT %s"

# Errors that differ only in ids and numbers have one cause.
_CAUSE = sql.SQL("regexp_replace(error, '[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]+', '*', 'g')")

_GROUPS = """
SELECT type, {cause}, count(*), min(stream) FROM {table} WHERE NOT skipped GROUP BY 1, 2
"""


class NotParked(Exception):
    """There is no such stream among the parked ones."""


class HeldBack(NamedTuple):
    """A parked stream, since when it is, and how many of its events are held back."""

    parked: Parked
    parked_at: datetime
    age: timedelta
    events: int


class Drained(NamedTuple):
    """What became of a parked stream: how many of its events were projected, and where it is parked now, if it is."""

    stream: str
    events: int
    parked: Parked | None


class Group(NamedTuple):
    """Parked streams of one projection with one cause. In `error` ids and numbers are replaced by `*`."""

    projection: str
    type: str
    error: str
    streams: int
    example: str


def held_back(connection: Connection, projection: Projection) -> list[HeldBack]:
    """The parked streams, in the order of their first event that is held back."""
    table = sql.Identifier(projection.name, "parked")
    rows = connection.execute(sql.SQL(_LISTED).format(table)).fetchall()
    return [HeldBack(Parked(*row[:7]), *row[7:]) for row in rows]


def waiting(connection: Connection, projection: Projection, after: int) -> dict[str, int]:
    """The next set of parked streams, each with the position of its first event that is held back, behind `after`."""
    table = sql.Identifier(projection.name, "parked")
    return dict(connection.execute(sql.SQL(_NEXT).format(table), (after, STREAMS_A_BATCH)).fetchall())


def groups(connection: Connection, projections: Sequence[Projection]) -> list[Group]:
    """The parked streams by cause, the largest group first."""
    found = []
    for projection in projections:
        statement = sql.SQL(_GROUPS).format(cause=_CAUSE, table=sql.Identifier(projection.name, "parked"))
        found += [Group(projection.name, *row) for row in connection.execute(statement).fetchall()]
    return sorted(found, key=lambda it: (-it.streams, it.projection, it.type, it.error))


def retry(
    connection: Connection,
    loop: Loop,
    stream: str | None = None,
    *,
    group: Group | None = None,
    events_max: int = EVENTS_A_BATCH,
) -> list[Drained]:
    """Drain a parked stream or a group (None: all of them), and what is parked behind those that become free.

    Set by set, in order within a stream; live projection goes on between the sets, each of `events_max` events. Raises
    NotParked and psycopg.Error.
    """
    table = sql.Identifier(loop.schema, "parked")
    rows = connection.execute(sql.SQL(_WAITING).format(cause=_CAUSE, table=table)).fetchall()
    if stream is not None:
        first = [stream]
    else:
        wanted = None if group is None else (group.type, group.error)
        first = [name for name, _, *kind in rows if wanted is None or tuple(kind) == wanted]
    drained = _drain_in_sets(loop, connection, first, events_max)
    free = {it.stream for it in drained if it.parked is None}
    # A stream that waits for a row was appended after it. So in the order of positions, one pass is enough.
    done = set(first)
    behind = [name for name, waits_for, _, _ in rows if waits_for in free and name not in done]
    return drained + _drain_in_sets(loop, connection, behind, events_max)


def _drain_in_sets(loop: Loop, connection: Connection, streams: Sequence[str], events_max: int) -> list[Drained]:
    drained: list[Drained] = []
    for start in range(0, len(streams), STREAMS_A_BATCH):
        drained += drain(loop, connection, streams[start : start + STREAMS_A_BATCH], events_max)
    return drained


def skip(connection: Connection, loop: Loop, stream: str, reason: str, by: str) -> tuple[Parked, Drained]:
    """Skip the event at which a stream is parked, and project the rest of the stream.

    Without its first event a stream stays out altogether. Returns the event, and what became of the rest. Raises
    NotParked and psycopg.Error.
    """
    with loop.all_or_nothing(connection):
        _, _, parking = _hold(loop, connection)
        parked = _parked(parking, stream)
        skips.add(connection, loop.projection.name, parked.position, stream, parked.version, reason, by)
    return parked, drain(loop, connection, [stream])[0]


def drain(
    loop: Loop, connection: Connection, streams: Sequence[str], events_max: int = EVENTS_A_BATCH
) -> list[Drained]:
    """Project the events that were held back of parked streams, in order, up to the position of the tables.

    Set by set: what was projected stays, even if a later event fails. Raises NotParked and psycopg.Error.
    """
    done = {stream: Drained(stream, 0, None) for stream in streams}
    left = list(streams)
    while left:
        some = loop.narrowing.run(lambda limit: _drain_set(loop, connection, left, limit), events_max)
        for stream, (events, parked, is_over) in some.items():
            done[stream] = Drained(stream, done[stream].events + events, parked)
            if is_over:
                left.remove(stream)
    return list(done.values())


_Outcome = tuple[int, Parked | None, bool]


def _drain_set(loop: Loop, connection: Connection, streams: Sequence[str], limit: int) -> dict[str, _Outcome]:
    """For each stream: how many events were projected, where it is parked now, and whether that was all."""
    with loop.all_or_nothing(connection):
        up_to, changes, parking = _hold(loop, connection)
        before = {stream: _parked(parking, stream) for stream in streams}
        open_ = {stream: it.version for stream, it in before.items() if not it.skipped}
        for stream in open_:
            parking.release(stream)
        types = loop.projection.types_read
        taken = read.of_streams(connection, open_, 0, up_to, each=limit, limit=limit, types=types)
        last = taken[-1].position if taken else 0
        left = read.of_streams(connection, open_, last, up_to, each=1, limit=len(open_), types=types)
        loop.folding.fold(taken, parking)
        loop.folding.write(connection, loop.writer, len(taken), taken[0].position if taken else 0)
        later = {event.stream: event for event in left}
        for stream, event in later.items():
            if event.position == before[stream].position:
                parking.keep(stream)
            elif parking.get(stream) is None:
                parking.park(event, "drained as far as this; a retry goes on")
        loop.writer.write_parked(connection, parking)
        loop.writer.record_parked(connection, parking.count, parking.has_changed)
    loop.parked.committed(parking, changes)
    loop.narrowing.passed(up_to)
    outcomes: dict[str, _Outcome] = {stream: (0, before[stream], True) for stream in streams}
    projected = Counter(
        event.stream for event in taken if (it := parking.get(event.stream)) is None or event.version < it.version
    )
    for stream in open_:
        now = parking.get(stream)
        goes_on = now is not None and stream in later and now.position == later[stream].position
        outcomes[stream] = projected[stream], now, not goes_on
    return outcomes


def _hold(loop: Loop, connection: Connection) -> tuple[int, int, Parking]:
    """Wait for the checkpoint and lock it: its position, its count of changes, and what is parked."""
    position, changes = loop.writer.hold(connection)
    parked = loop.load_parked(connection, changes)
    return position, changes, Parking(parked, loop.skipped(connection, 0, position), loop.narrowing.given_up)


def _parked(parking: Parking, stream: str) -> Parked:
    parked = parking.get(stream)
    if parked is None:
        raise NotParked(f"{stream} is not parked")
    return parked
