"""Checks of the projections: those that stand still, parked streams, and when they were last verified."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection

from console.words import counted, parked
from projector.parked import Group
from projector.status import STOPPED_AFTER, Standing, status
from service.doctor.finding import Check, Finding
from service.doctor.verified import VERIFIED
from service.projections import PROJECTIONS

# A worker catches up with an import within that time, or its user wants to know.
LAG_MAX = timedelta(seconds=30)
VERIFIED_DAYS_MAX = 7


def standings(connection: Connection) -> list[Standing]:
    """Where the projections are. Empty if log.head has lost its row, which another check reports."""
    has_head = connection.execute("SELECT FROM log.head").rowcount
    return status(connection, PROJECTIONS).projections if has_head else []


def projections_check(before: Sequence[Standing], parked: Sequence[Group]) -> Check:
    """That all projections follow the log.

    `before` and `parked` were read before the snapshot, whose lock would keep a replay from swapping the tables.
    """
    since = {it.name: it.parked_since for it in before}
    return Check(
        "projections",
        lambda _: [
            *_without_worker(before),
            *(finding for it in before for finding in _of_projection(it)),
            *(_of_group(number, it, since.get(it.projection)) for number, it in enumerate(parked, 1)),
        ],
        "commands are accepted, but reads do not show what they did",
    )


def _lacks_worker(standing: Standing) -> bool:
    # A database that was restored or imported into has no worker yet.
    is_silent = standing.now - standing.seen_at > STOPPED_AFTER
    return bool(standing.worker and standing.lag_events and is_silent and not standing.outdated)


def _without_worker(standings: Sequence[Standing]) -> Iterator[Finding]:
    """One finding for all projections, because one worker drives them."""
    if left := [it for it in standings if _lacks_worker(it)]:
        last = max(left, key=lambda it: it.seen_at)
        events, silence = max(it.lag_events for it in left), last.now - last.seen_at
        yield Finding(
            f"{counted(events, 'event waits', 'events wait')} for {', '.join(it.name for it in left)}, and no worker "
            f"has looked for {silence.total_seconds():.0f} s; the last was {last.worker}",
            "start a worker: orders work",
            last.seen_at,
        )


def _of_projection(standing: Standing) -> Iterator[Finding]:
    name = standing.name
    if standing.outdated:
        yield Finding(standing.outdated, f"start a worker of this release, or: orders replay {name}")
    elif _lacks_worker(standing):
        pass
    elif standing.error:
        yield Finding(
            f"the last batch of {name} failed: {standing.error}", _after_failure(standing.error), standing.updated_at
        )
    elif standing.worker and standing.lag > LAG_MAX:
        yield Finding(
            f"{name} is {standing.lag_events:,} events behind the log; the first of them has waited for "
            f"{standing.lag.total_seconds():.0f} s",
            "wait, if `orders status --watch` shows that the position moves; if not, end what `in the way` names, "
            "or start the worker again: orders work",
            standing.waiting_since,
        )


def _of_group(number: int, group: Group, since: datetime | None) -> Finding:
    """A cause of parked streams; `number` is that of `orders parked`."""
    return Finding(
        parked(group),
        f"deploy a release that can project the event, then: `orders parked retry --group {number}`; "
        f"or do without the event: `orders parked skip --group {number} --reason WHY`",
        since,
    )


def _after_failure(error: str) -> str:
    """What to do about the error of a batch, which begins with the name of its class."""
    if error.startswith(("DiskFull", "ExtendFailed")) or "No space left on device" in error:
        return "make room on the disk of PostgreSQL; the worker goes on by itself"
    return "end the session that `orders status` shows as in the way; without one, the worker's log says more"


def verifications(connection: Connection) -> list[tuple[Any, ...]]:
    """When each projection was last verified: rows of VERIFIED."""
    return connection.execute(VERIFIED, {"days": VERIFIED_DAYS_MAX}).fetchall()


def verified_check(before: Sequence[tuple[Any, ...]]) -> Check:
    """That all projections were verified lately, with no difference. `before` was read before the snapshot."""
    return Check(
        "verified",
        lambda _: _verified(before),
        "a wrong row of the read tables stays unnoticed until a customer sees it",
    )


def _verified(before: Sequence[tuple[Any, ...]]) -> Iterator[Finding]:
    for name, verified_at, position, differences, is_late in before:
        if differences:
            yield Finding(
                f"the last verify of {name} found {counted(differences, 'difference')} between the tables and the log, "
                f"at position {position:,}",
                f"orders verify {name} names the rows; orders replay {name} makes them anew from the log",
                verified_at,
            )
        elif is_late:
            when = f"for {VERIFIED_DAYS_MAX} days" if verified_at else "yet"
            yield Finding(f"{name} was not verified {when}", f"orders verify {name}", verified_at)
