"""`orders doctor`: checks that the stored data is consistent, the server safe, and no session in the way.

The checks hold no lock that the service waits for: they run beside full traffic. All but those of the projections see
one snapshot, read only, which keeps dead versions of rows for as long as the examination takes, like a pg_dump.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
from psycopg import Connection, IsolationLevel

from database.sessions import Unsuitable
from service.doctor import (
    claims,
    history,
    imports,
    mirrors,
    neighbours,
    orders,
    server,
    snapshots,
    stock,
    storage,
    upkeep,
)
from service.doctor.finding import Check, Finding

CHECK_SECONDS_MAX = 600

# These take milliseconds, whatever the size of the log.
QUICK_CHECKS: tuple[Check, ...] = tuple(
    check for each in (server, storage, neighbours, mirrors, imports) for check in each.CHECKS
)
# These read all of the log.
LOG_CHECKS: tuple[Check, ...] = tuple(
    check for each in (history, stock, orders, claims, snapshots) for check in each.CHECKS
)


@dataclass(slots=True)
class Examination:
    """The result of an examination: checks, their times and findings, by check."""

    events: int = 0
    seconds: float = 0.0
    checks: list[Check] = field(default_factory=list)
    took: dict[str, float] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    # The checks that could not be made, with the reason. They have no entry in `findings`.
    not_checked: dict[str, str] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """True if every check ran to its end and found nothing that no operator has accepted."""
        return not self.not_checked and not self.number

    @property
    def number(self) -> int:
        """How many findings there are that no operator has accepted."""
        return sum(not it.accepted for some in self.findings.values() for it in some)


def examine(
    connection: Connection,
    report: Callable[[str], None] = lambda _: None,
    check_seconds_max: float = CHECK_SECONDS_MAX,
    *,
    redis_url: str | None = None,
    quick: bool = False,
) -> Examination:
    """Make all checks on an idle connection in autocommit; `report` hears the name of each before it begins.

    `quick` leaves out those that read the log. Without `redis_url` Redis is left out.
    A check that takes longer than `check_seconds_max` for a statement, or waits for a lock, is listed in `not_checked`.
    Raises psycopg.Error.
    """
    found = Examination()
    started = time.monotonic()
    connection.execute(f"SET statement_timeout = {round(check_seconds_max * 1_000)}")
    connection.execute("SET lock_timeout = '2s'")
    # Sorts and joins of the whole log; the default is meant for requests.
    connection.execute("SET work_mem = '64MB'")
    # The planner cannot estimate rows that come out of JSON. A nested loop over them takes quadratic time.
    connection.execute("SET enable_nestloop = off")

    def run(checks: Iterable[Check]) -> None:
        for check in checks:
            report(check.name)
            begun = time.monotonic()
            found.checks.append(check)
            try:
                found.findings[check.name] = _findings(connection, check)
            except psycopg.errors.QueryCanceled:
                took = f"a statement took longer than {check_seconds_max:.0f} s"
                found.not_checked[check.name] = f"{took}: run it again when the server has less to do"
            except psycopg.errors.LockNotAvailable:
                held = "another session holds a lock on what it reads"
                found.not_checked[check.name] = f"{held}: end that session, which `in the way` names, and run it again"
                connection.execute("SET lock_timeout = '100ms'")  # the checks behind it meet the same lock
            except Unsuitable as error:
                what, _, remedy = str(error).partition(": ")
                found.findings[check.name] = [Finding(what, remedy)]
            found.took[check.name] = time.monotonic() - begun

    # Outside the snapshot, whose lock on a checkpoint would keep a replay from swapping the tables.
    run(upkeep.CHECKS)
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    with connection.transaction():
        with suppress(psycopg.errors.LockNotAvailable), connection.transaction():
            found.events = history.head(connection)
        run(QUICK_CHECKS)
        run([neighbours.redis_check(redis_url)] if redis_url else [])
        run(() if quick else LOG_CHECKS)
    found.seconds = time.monotonic() - started
    return found


def _findings(connection: Connection, check: Check) -> list[Finding]:
    """Run one check. Raises QueryCanceled when it runs out of time, LockNotAvailable, and Unsuitable."""
    # A savepoint: the next checks go on after one that was cancelled.
    with connection.transaction():
        return check.findings(connection)
