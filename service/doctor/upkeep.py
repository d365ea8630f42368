"""Checks of the projections: those that stand still or are ahead, parked streams, and when they were last verified."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from psycopg import Connection

from console.words import counted, parked
from database.position_group import NEWEST
from database.remedies import make_room
from eventlog import pages
from projector.parked import groups
from projector.status import STOPPED_AFTER, Standing, status
from service.doctor.finding import Check, Finding
from service.doctor.history import head
from service.doctor.verified import VERIFIED
from service.projections import PROJECTIONS

# A worker catches up with an import within that time, or its user wants to know.
LAG_MAX = timedelta(seconds=30)
VERIFIED_DAYS_MAX = 7
# The errors of a batch that has waited for another session.
_WAITED = ("LockNotAvailable", "QueryCanceled", "DeadlockDetected")

_PROJECTED = " UNION ALL ".join(
    f"(SELECT '{it.name}', position FROM {it.name}.checkpoint {NEWEST})"  # noqa: S608 - names of our own tables
    for it in PROJECTIONS
).encode()


def _standings(connection: Connection) -> list[Standing]:
    # Without a row in log.head there is no status; another check reports that.
    has_head = connection.execute(pages.HEAD).rowcount
    return status(connection, PROJECTIONS).projections if has_head else []


def _projections(connection: Connection) -> Iterator[Finding]:
    standings = _standings(connection)
    yield from _without_worker(standings)
    for standing in standings:
        yield from _of_projection(standing)


def _parked(connection: Connection) -> Iterator[Finding]:
    since = {it.name: it.parked_since for it in _standings(connection)}
    for group in groups(connection, PROJECTIONS):
        yield Finding(
            parked(group),
            f"deploy a release that can project the event, then: `orders parked retry --group {group.name}`; "
            f"or do without the event: `orders parked skip --group {group.name} --reason WHY`",
            since.get(group.projection),
        )


def _lacks_worker(standing: Standing) -> bool:
    return abs(standing.now - standing.seen_at) > STOPPED_AFTER and not standing.outdated


def _without_worker(standings: Sequence[Standing]) -> Iterator[Finding]:
    """One finding for all projections, because one worker drives them."""
    if left := [it for it in standings if _lacks_worker(it)]:
        last = max(left, key=lambda it: it.seen_at)
        events = max(it.lag_events for it in left)
        names = ", ".join(it.name for it in left if it.lag_events)
        waiting = f"{counted(events, 'event waits', 'events wait')} for {names}, and " if events else ""
        yield Finding(f"{waiting}{last.silence}", "start a worker: orders work", last.seen_at)


def _of_projection(standing: Standing) -> Iterator[Finding]:
    name = standing.name
    if standing.outdated:
        yield Finding(f"{name}: {standing.outdated}", _after_release(standing))
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


def _after_release(standing: Standing) -> str:
    if standing.version > standing.projection.version:
        return "deploy the newer release again"
    if standing.building:
        return "wait: `orders status --watch` shows how far the rebuild is"
    return f"orders replay {standing.name}"


def _after_failure(error: str) -> str:
    """The remedy for the error of a batch, which begins with the name of its class."""
    if error.startswith(("DiskFull", "ExtendFailed")) or "No space left on device" in error:
        return f"{make_room()}; the worker goes on by itself"
    if error.startswith(_WAITED):
        return "end the session that `orders status` shows as in the way; without one, the worker's log says more"
    return "mend what the error names (the worker's log says more); the worker goes on by itself"


def differences(connection: Connection) -> Iterator[Finding]:
    """The differences that the last verify of each projection found."""
    for name, verified_at, position, number, _ in connection.execute(VERIFIED, {"days": VERIFIED_DAYS_MAX}):
        if number:
            yield Finding(
                f"the last verify of {name} found {counted(number, 'difference')} between the tables and the log, "
                f"at position {position:,}",
                f"orders verify {name} names the rows; orders replay {name} makes them anew from the log",
                verified_at,
            )


def _verified(connection: Connection) -> Iterator[Finding]:
    yield from differences(connection)
    for name, verified_at, _, number, is_late in connection.execute(VERIFIED, {"days": VERIFIED_DAYS_MAX}):
        if is_late and not number:
            when = f"for {VERIFIED_DAYS_MAX} days" if verified_at else "yet"
            yield Finding(f"{name} was not verified {when}", f"orders verify {name}", verified_at)


def _checkpoint(connection: Connection) -> Iterator[Finding]:
    # A position that is read before the head can only be behind it.
    projected = connection.execute(_PROJECTED).fetchall()
    end = head(connection)
    for name, position in projected:
        if position > end:
            yield Finding(
                f"{name} has projected up to position {position}, but the log ends at {end}",
                "the log was restored to an earlier state, or events were deleted: after making sure of the log, "
                "rebuild with `orders replay`",
            )


CHECKS = (
    Check("projections", _projections, "commands are accepted, but reads do not show what they did"),
    Check("parked", _parked, "events of parked streams are held back from the read tables; all other streams go on"),
    Check("verified", _verified, "a wrong row of the read tables stays unnoticed until a customer sees it"),
    Check("checkpoint", _checkpoint, "the read tables show events that the log does not have"),
)
