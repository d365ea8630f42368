"""Performs a job: each kind calls the function that the command line calls."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from projector.connecting import connect
from projector.jobs.table import Job, Kind
from projector.loop import Loop
from projector.parked import Drained, Group, NotParked, groups, held_back, retry, skip, skip_group
from projector.projection import Projection, named
from projector.replay import replay
from projector.shadow import Report
from projector.verify import verify

DIFFERENCES_KEPT_MAX = 100


class Refused(Exception):
    """The job cannot be done; the message says why."""


class Outcome(NamedTuple):
    """The result of a job, in a sentence. `is_well`: nothing is left to do. `differences` are the first of a verify."""

    said: str
    is_well: bool = True
    differences: Sequence[Mapping[str, Any]] = ()


def perform(database_url: str, projections: Iterable[Projection], job: Job, report: Report) -> Outcome:
    """Do what a job asks for; `report` is called with the progress of a replay or verify.

    Raises Refused, what `replay` and `verify` raise, and psycopg.Error.
    """
    projection = named(projections, job.projection)
    if projection is None:
        raise Refused(f"this release has no projection {job.projection}")
    return _ACTS[job.kind](database_url, projection, job, report)


def _replay(database_url: str, projection: Projection, _: Job, report: Report) -> Outcome:
    reached = replay(database_url, projection, report)
    return Outcome(f"{projection.name} was rebuilt from {reached.position:,} events, and the new tables serve")


def _verify(database_url: str, projection: Projection, _: Job, report: Report) -> Outcome:
    verdict = verify(database_url, projection, report)
    rows = sum(verdict.rows.values())
    if not verdict.found:
        return Outcome(f"all {rows:,} rows equal the fold of the log, at position {verdict.position:,}")
    kept = [asdict(it) for it in verdict.differences[:DIFFERENCES_KEPT_MAX]]
    number = "1 difference" if verdict.found == 1 else f"{verdict.found:,} differences"
    said = f"{number} in {rows:,} rows, at position {verdict.position:,}: rebuild {projection.name}"
    return Outcome(said, False, kept)


def _retry(database_url: str, projection: Projection, job: Job, _: Report) -> Outcome:
    with connect(database_url) as connection:
        group = Group(job.projection, job.type, job.error or "", job.streams or 0) if job.type is not None else None
        try:
            return _told(retry(connection, Loop(projection), job.stream, group=group))
        except NotParked:
            return Outcome(f"{job.stream} is no longer parked")


def _skip(database_url: str, projection: Projection, job: Job, _: Report) -> Outcome:
    reason, loop = job.reason or "", Loop(projection)
    with connect(database_url) as connection:
        if job.stream is not None:
            held = next((it.parked for it in held_back(connection, projection, stream=job.stream)), None)
            if held is None or held.position != job.at_position:
                return Outcome(f"{job.stream} is no longer parked at position {job.at_position}")
            return _told([skip(connection, loop, job.stream, reason, job.asked_by)[1]])
        # Streams of the group that are done may be parked again, at an event that no operator has asked to skip.
        if job.attempts > 1:
            raise Refused("the worker ended in the middle; look at what is parked now, and skip what is left")
        of_projection = groups(connection, [projection])
        now = next((it for it in of_projection if (it.type, it.error) == (job.type, job.error)), None)
        if now is None or now.streams != job.streams:
            number = now.streams if now else 0
            raise Refused(f"the group had {job.streams:,} streams when this was asked for, and has {number:,} now")
        return _told(it for _, it in skip_group(connection, loop, now, reason, job.asked_by))


def _told(drained: Iterable[Drained]) -> Outcome:
    streams = events = out = held = 0
    error = ""
    for it in drained:
        streams, events = streams + 1, events + it.events
        if it.parked is not None and it.parked.skipped:
            out += 1
        elif it.parked is not None:
            held, error = held + 1, error or it.parked.error
    said = f"{streams - out - held:,} of {streams:,} streams are projected again, with {events:,} events"
    if out:
        said += f"; {out:,} stay out of the read tables, because their first event was skipped"
    if held:
        said += f"; {held:,} are parked still: {error}"
    return Outcome(said, not held)


_ACTS: Mapping[Kind, Callable[[str, Projection, Job, Report], Outcome]] = {
    "replay": _replay,
    "verify": _verify,
    "retry": _retry,
    "skip": _skip,
}
