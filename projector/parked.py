"""Operators' acts on parked streams: list them with their reasons, retry them, or skip an event for good.

The acts on a `Group` read only its `projection`, `type` and `error`, so a page may build it from its own form. All acts
may run beside a worker and beside each other: they pass over streams that another process has freed meanwhile.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from psycopg import Connection, sql

from eventlog import read, skips
from projector.loop import Loop
from projector.paging import PAGE_MAX
from projector.parking import Parked, Parking
from projector.projection import Projection

# One transaction of a retry: so many streams, so many events. It holds the checkpoint, and live projection waits.
STREAMS_A_BATCH = 500
EVENTS_A_BATCH = 500
# A rest after each: longer than a follower waits before it tries again to take the checkpoint.
REST_SECONDS = 0.03

_LISTED = """
SELECT stream, position, version, type, error, behind, skipped, parked_at, clock_timestamp() - parked_at,
    (SELECT max(event.version) FROM log.events AS event WHERE event.stream = parked.stream) - version + 1
FROM {table} AS parked WHERE NOT skipped AND {which} ORDER BY position LIMIT %(most)s
"""

_WAITING = "SELECT stream FROM {table} WHERE NOT skipped AND {which} ORDER BY position"

# Errors that differ only in ids and numbers have one cause.
_CAUSE = sql.SQL("regexp_replace(error, '[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]+', '*', 'g')")

_OF_GROUP = sql.SQL("type = %(type)s AND {} = %(error)s").format(_CAUSE)

_GROUPS = """
SELECT type, {cause}, count(*), min(stream), min(error) FROM {table} WHERE NOT skipped GROUP BY 1, 2
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
    """The result for one parked stream: how many of its events were projected, and where it is parked now, if it is."""

    stream: str
    events: int
    parked: Parked | None


class Group(NamedTuple):
    """Parked streams of one projection with one cause.

    In `error` ids and numbers are replaced by `*`; `said` is the error of one of the streams, as it is.
    """

    projection: str
    type: str
    error: str
    streams: int
    example: str = ""
    said: str = ""

    @property
    def name(self) -> str:
        """A short name by the cause. It stays the same whatever else is parked, and fits into forms and commands."""
        return hashlib.sha256(f"{self.projection}\0{self.type}\0{self.error}".encode()).hexdigest()[:8]


def held_back(
    connection: Connection, projection: Projection, *, stream: str | None = None, most: int | None = None
) -> list[HeldBack]:
    """The parked streams, in the order of their first event that is held back: the first `most`, or one `stream`."""
    which = sql.SQL("true" if stream is None else "stream = %(stream)s")
    statement = sql.SQL(_LISTED).format(table=sql.Identifier(projection.name, "parked"), which=which)
    rows = connection.execute(statement, {"stream": stream, "most": most}).fetchall()
    return [HeldBack(Parked(*row[:7]), *row[7:]) for row in rows]


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
) -> Iterator[Drained]:
    """Drain a stream or group (None: all), and what is parked behind those, as far as the caller takes the results.

    Those of many streams would take much memory at once. Raises NotParked and psycopg.Error.
    """
    if group is not None:
        first = _waiting(connection, loop, _OF_GROUP, group._asdict())
    else:
        first = _waiting(
            connection, loop, sql.SQL("true" if stream is None else "stream = %(stream)s"), {"stream": stream}
        )
    if stream is not None and not first:
        raise NotParked(f"{stream} is not parked")
    free = []
    for drained in drain(loop, connection, first, _rest, events_max):
        if drained.parked is None:
            free.append(drained.stream)
        yield drained
    # A stream that waits for a row was appended after it. So in the order of positions, one pass is enough.
    behind = _waiting(connection, loop, sql.SQL("behind = ANY(%(free)s)"), {"free": free})
    yield from drain(loop, connection, behind, _rest, events_max)


def _waiting(connection: Connection, loop: Loop, which: sql.Composable, values: Mapping[str, object]) -> list[str]:
    """The parked streams of which a condition is true, oldest first."""
    statement = sql.SQL(_WAITING).format(table=sql.Identifier(loop.schema, "parked"), which=which)
    return [stream for (stream,) in connection.execute(statement, values)]


def skip(connection: Connection, loop: Loop, stream: str, reason: str, by: str) -> tuple[Parked, Drained]:
    """Skip the event at which a stream is parked, and project the rest of the stream.

    Without its first event a stream stays out altogether. `reason` must not be empty; `by` names the operator. Returns
    the event, and what became of the rest. Raises NotParked and psycopg.Error.
    """
    skipped = _skip(connection, loop, [stream], reason, by)
    if not skipped:
        raise NotParked(f"{stream} is not parked")
    return skipped[0]


def skip_group(
    connection: Connection, loop: Loop, group: Group, reason: str, by: str
) -> Iterator[tuple[Parked, Drained]]:
    """As `skip`, for each stream of a group, as far as the caller takes the results.

    What was skipped stays so if a later set fails.
    """
    of_group = _waiting(connection, loop, _OF_GROUP, group._asdict())
    for start in range(0, len(of_group), STREAMS_A_BATCH):
        if start:
            _rest()
        yield from _skip(connection, loop, of_group[start : start + STREAMS_A_BATCH], reason, by)


def _skip(
    connection: Connection, loop: Loop, streams: Sequence[str], reason: str, by: str
) -> list[tuple[Parked, Drained]]:
    """Skip the events at which those of the streams are parked that still are."""
    with loop.all_or_nothing(connection):
        loop.writer.hold(connection)
        parked = loop.writer.parked(connection, streams)
        skipped = [it for stream in streams if (it := parked.get(stream)) is not None and not it.skipped]
        for it in skipped:
            skips.add(connection, loop.projection.name, it.position, it.stream, it.version, reason, by)
    return list(zip(skipped, drain(loop, connection, [it.stream for it in skipped]), strict=True))


def _rest() -> None:
    time.sleep(REST_SECONDS)  # live projection takes the checkpoint meanwhile


def drain(
    loop: Loop,
    connection: Connection,
    streams: Sequence[str],
    between: Callable[[], object] = lambda: None,
    events_max: int = EVENTS_A_BATCH,
) -> Iterator[Drained]:
    """Project the events that were held back of parked streams, in order, up to the position of the tables.

    Set by set of `events_max` events, as far as the caller takes the results. Live projection waits for a set, and not
    while `between` runs between them. What was projected stays, even if a later event fails. A stream that is not
    parked any more counts as done. Raises psycopg.Error.
    """
    for start in range(0, len(streams), STREAMS_A_BATCH):
        if start:
            between()
        left = list(streams[start : start + STREAMS_A_BATCH])
        done = {stream: Drained(stream, 0, None) for stream in left}
        while left:
            drained = loop.narrowing.run(partial(_drain_set, loop, connection, tuple(left)), events_max)
            for stream, (events, parked, is_over) in drained.items():
                done[stream] = Drained(stream, done[stream].events + events, parked)
                if is_over:
                    left.remove(stream)
            if left:
                between()
        yield from done.values()


_Outcome = tuple[int, Parked | None, bool]


def _drain_set(loop: Loop, connection: Connection, streams: Sequence[str], limit: int) -> dict[str, _Outcome]:
    """For each stream: how many events were projected, where it is parked now, and whether that was all."""
    with loop.all_or_nothing(connection):
        up_to, changes = loop.writer.hold(connection)
        skipped = skips.of_streams(connection, loop.projection.name, streams)
        parking = Parking(loop.parked.load(connection, changes), skipped, loop.narrowing.given_up)
        before = loop.writer.parked(connection, streams)
        open_ = {stream: it.version for stream, it in before.items() if not it.skipped}
        for stream in open_:
            parking.release(stream)
        of_streams = partial(read.of_streams, connection, open_, up_to=up_to, types=loop.projection.types_read)
        taken = of_streams(0, each=limit, limit=limit, bytes_max=PAGE_MAX.data_bytes)
        last = taken[-1].position if taken else 0
        left = of_streams(last, each=1, limit=len(open_), bytes_max=None)
        loop.folding.fold(taken, parking)
        loop.folding.write(connection, loop.writer, len(taken), taken[0].position if taken else 0)
        later = {event.stream: event for event in left}
        for stream, event in later.items():
            if event.position == before[stream].position:
                parking.put_back(stream)
            elif parking.get(stream) is None:
                parking.park(event, "drained as far as this; a retry goes on")
        for stream, was in before.items():
            if parking.new.get(stream) == was:  # it fails as before, so there is nothing to write
                parking.put_back(stream)
        loop.writer.write_parked(connection, parking)
        loop.writer.record_parked(connection, parking.count, parking.has_changed)
    loop.parked.committed(parking, changes)
    loop.narrowing.passed(up_to)
    outcomes: dict[str, _Outcome] = {stream: (0, before.get(stream), True) for stream in streams}
    projected = Counter(
        event.stream for event in taken if (it := parking.get(event.stream)) is None or event.version < it.version
    )
    for stream in open_:
        now = parking.new.get(stream) or (before[stream] if parking.get(stream) else None)
        goes_on = now is not None and stream in later and now.position == later[stream].position
        outcomes[stream] = projected[stream], now, not goes_on
    return outcomes
