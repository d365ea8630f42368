"""Checks for what an operator must mend: projections that stand still, parked streams, and tables that decay."""

from collections.abc import Iterator, Sequence

from psycopg import Connection

from projector.status import STOPPED_AFTER, Standing, status
from service.doctor.finding import Check, Finding
from service.projections import PROJECTIONS

# A vacuum keeps log.head below this; above it every batch of the writer reads through the dead versions.
DEAD_ROWS_MAX = 10_000

_DEAD_ROWS = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'log.head'::regclass"

_INVALID = """
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT indisvalid AND relnamespace::regnamespace::text = ANY(%s) ORDER BY 1
"""


def standings(connection: Connection) -> list[Standing]:
    """Where the projections are. Empty if log.head has lost its row, which another check reports."""
    has_head = connection.execute("SELECT FROM log.head").rowcount
    return status(connection, PROJECTIONS).projections if has_head else []


def projections_check(before: Sequence[Standing]) -> Check:
    """That all projections follow the log.

    `before` was read before the snapshot, whose lock would keep a replay from swapping the tables.
    """
    return Check("projections", lambda _: [finding for it in before for finding in _of_projection(it)])


def _of_projection(standing: Standing) -> Iterator[Finding]:
    name, silence = standing.name, standing.now - standing.seen_at
    if standing.outdated:
        yield Finding(standing.outdated, f"start a worker of this release, or: orders replay {name}")
    # A database that was restored or imported into has no worker yet.
    elif standing.worker and standing.lag_events and silence > STOPPED_AFTER:
        seconds = silence.total_seconds()
        yield Finding(
            f"{standing.lag_events} events wait for {name}, and no worker has looked for {seconds:.0f} s; "
            f"the last was {standing.worker}",
            "start a worker: orders work",
        )
    elif standing.error:
        yield Finding(f"the last batch of {name} failed: {standing.error}", "orders status names who blocks it")
    if standing.parked:
        yield Finding(f"{standing.parked} streams of {name} are parked", "orders parked says why, and what waits")


def _tables(connection: Connection) -> Iterator[Finding]:
    for (dead,) in connection.execute(_DEAD_ROWS):
        if dead > DEAD_ROWS_MAX:
            yield Finding(
                f"log.head has {dead:,} dead row versions, which slow the writer down",
                "end what `left open` names, if anything, and then: VACUUM log.head",
            )
    schemas = ["log", *(it.name for it in PROJECTIONS)]
    for (index,) in connection.execute(_INVALID, (schemas,)):
        yield Finding(f"the index {index} is invalid: nothing uses it, and every write pays for it", _rebuilt(index))


def _rebuilt(index: str) -> str:
    return f"REINDEX INDEX CONCURRENTLY {index}"


CHECKS = (Check("tables", _tables),)
