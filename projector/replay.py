"""Replay: rebuild a projection from event 1 while its old tables serve, then swap the new ones in.

The same loop as live projection, on a schema of its own. At the end one short transaction locks the checkpoint of the
serving tables, projects the last events, and renames the schemas. Every select reads the checkpoint first
(query/statements.py), so no reader sees one table of the old build beside one of the new. A crash at any point leaves
the old tables serving.
"""

import contextlib

import psycopg
from psycopg import Connection, sql

from eventlog import stalled
from projector import dependents, heritage, swapping
from projector.loop import Progress
from projector.paging import PAGE_MAX, PageMax, ReadAhead
from projector.projection import Projection
from projector.shadow import BATCH_EVENTS, TO_BE_DROPPED, Report, Shadow, building, built_beside, drop_schema
from projector.tables import CREATE_LOCK, comment_on

_USERS = """
SELECT concat_ws(', ', 'PostgreSQL process ' || string_agg(DISTINCT lock.pid::text, ', '),
    'the prepared transaction ' || string_agg(DISTINCT quote_literal(gid), ', '))
FROM pg_locks AS lock JOIN pg_class AS class ON class.oid = lock.relation
    -- A prepared transaction has no process: its number is found by the lock that it holds on that number.
    LEFT JOIN pg_locks AS held ON lock.pid IS NULL AND held.pid IS NULL AND held.locktype = 'transactionid'
        AND held.virtualtransaction = lock.virtualtransaction
    LEFT JOIN pg_prepared_xacts ON transaction = held.transactionid
WHERE class.relnamespace = to_regnamespace(%s) AND lock.granted AND lock.pid IS DISTINCT FROM pg_backend_pid()
    AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# Another transaction that has touched the tables and has changed something. A GRANT, a policy or a view of it, which no
# other session sees before its commit, would be lost with the old tables. One that only reads has no transaction id.
_CHANGING = """
SELECT count(*) > 0 FROM pg_locks AS lock JOIN pg_class AS class ON class.oid = lock.relation
    JOIN pg_locks AS change ON change.virtualtransaction = lock.virtualtransaction
WHERE class.relnamespace = to_regnamespace(%s) AND lock.granted AND lock.pid IS DISTINCT FROM pg_backend_pid()
    AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND change.locktype = 'transactionid' AND change.mode = 'ExclusiveLock'
"""

# A view may show tables of two projections: each swap must read its definition when no other swap renames schemas.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(%s)"

# A rebuild of fewer events tells nothing of a longer one, because most of its time is not spent on events.
RATE_EVENTS_MIN = 20_000
_RATE = """
UPDATE {} SET events_per_second = position::numeric / greatest(extract(epoch FROM clock_timestamp() - built_at), 0.001)
WHERE position >= %s
"""

# The columns of the serving checkpoint that a swap reads; an operator may have dropped some, or the table.
_IS_COMPLETE = """
SELECT count(*) = 3 FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attname IN ('version', 'made', 'position') AND NOT attisdropped
"""
_COMPLETE = """
CREATE TABLE IF NOT EXISTS {0} ();
ALTER TABLE {0} ADD COLUMN IF NOT EXISTS version integer, ADD COLUMN IF NOT EXISTS made text[],
    ADD COLUMN IF NOT EXISTS position bigint
"""


class SwapRefused(Exception):
    """Another session held the read tables all the time, so the new ones could not take their place."""


def replay(database_url: str, projection: Projection, report: Report, page_max: PageMax = PAGE_MAX) -> Progress:
    """Rebuild the projection's tables, and call `report` after each batch. Returns where they then are.

    Raises Busy, SwapRefused, InTheWay and psycopg.Error; then the old tables go on serving, the new ones are dropped.
    """
    with (
        building(database_url, projection) as connection,
        ReadAhead(database_url, projection, page_max) as ahead,
    ):
        _drop_retired(connection, projection)
        with Shadow(connection, projection, built_beside(projection), read_page=ahead.page) as shadow:
            _rehearse(connection, projection, shadow)
            for statement in heritage.options(connection, projection.name, shadow.schema):
                connection.execute(statement.encode())
            shadow.fill(report)
            shadow.finish()
            progress = _swap_when_free(connection, projection, shadow, report)
        # The new tables serve: if a session still holds an old one, the next replay drops it.
        with contextlib.suppress(SwapRefused, dependents.InTheWay, KeyboardInterrupt):
            _drop_retired(connection, projection)
    return progress


def _rehearse(connection: Connection, projection: Projection, shadow: Shadow) -> None:
    """Finish the empty tables, swap them in, and roll all of it back. Raises InTheWay."""
    with (
        contextlib.suppress(*swapping.IN_USE, psycopg.errors.InternalError_),
        connection.transaction(force_rollback=True),
    ):
        shadow.finish()
        _complete_checkpoint(connection, projection)
        connection.execute(_ONE_AT_A_TIME, (CREATE_LOCK,))
        dependents.look(connection, projection, shadow.schema)  # before all the work; and once more after it
        connection.execute(f"SET LOCAL lock_timeout = '{swapping.LOCK_MS_MAX}ms'")
        dependents.try_out(connection, _rename(connection, projection, shadow))


def _complete_checkpoint(connection: Connection, projection: Projection) -> None:
    """Add the table and columns that the swap reads, if somebody has dropped them from the serving checkpoint.

    They are dropped with the old tables.
    """
    ((is_complete,),) = connection.execute(_IS_COMPLETE, (f"{projection.name}.checkpoint",)).fetchall()
    if not is_complete:
        connection.execute(sql.SQL(_COMPLETE).format(sql.Identifier(projection.name, "checkpoint")))


def _rename(connection: Connection, projection: Projection, shadow: Shadow) -> list[str]:
    """Rename the schemas. Returns the statements that then set on the new tables what others had set on the old."""
    name = projection.name
    heritage.hold(connection, name)
    inherited = heritage.statements(connection, name, shadow.schema)
    views = dependents.views(connection, name)
    comment = projection.metadata.info["comment"]
    for old, new, says in ((name, _retired(projection), TO_BE_DROPPED), (shadow.schema, name, comment)):
        connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))
        comment_on(connection, new, says)
    return [*views, *inherited]


def _swap_when_free(connection: Connection, projection: Projection, shadow: Shadow, report: Report) -> Progress:
    def attempt() -> Progress:
        # Also after a failed attempt: the swap has to project few events.
        shadow.fill(report)
        return _swap(connection, projection, shadow)

    try:
        progress = swapping.swap_when_free(attempt, swapping.is_in_use)
    except psycopg.Error as error:
        if not swapping.is_in_use(error):
            raise
        users = _users_of(connection, projection.name)
        raise SwapRefused(f"the tables of {projection.name} were in use for too long, by {users}") from None
    report(progress)
    return progress


def _swap(connection: Connection, projection: Projection, shadow: Shadow) -> Progress:
    """Project the last events and rename, in one transaction. Raises LockNotAvailable."""
    name = projection.name
    serving = sql.Identifier(name, "checkpoint")
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{swapping.LOCK_MS_MAX}ms'")
        connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{stalled.SECONDS_MAX}s'")
        connection.execute(_ONE_AT_A_TIME, (CREATE_LOCK,))
        _complete_checkpoint(connection, projection)
        # The only table whose lock is waited for: a rename locks no table, and the old ones are dropped later.
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(serving))
        reached = sql.SQL("SELECT coalesce(max(position), 0) FROM {}").format(serving)
        ((seen,),) = connection.execute(reached).fetchall()
        _lock_if_free(connection, projection)
        ((is_changing,),) = connection.execute(_CHANGING, (name,)).fetchall()
        if is_changing:
            raise psycopg.errors.LockNotAvailable
        dependents.look(connection, projection, shadow.schema)
        # Not behind what readers have seen, unless the log itself is: it was restored without the read tables.
        while (progress := shadow.loop.project(connection, BATCH_EVENTS)).position < min(seen, progress.head):
            pass
        shadow.apply_skips()
        connection.execute(sql.SQL(_RATE).format(sql.Identifier(shadow.schema, "checkpoint")), (RATE_EVENTS_MIN,))
        for statement in _rename(connection, projection, shadow):
            connection.execute(statement.encode())
    return progress


def _lock_if_free(connection: Connection, projection: Projection) -> None:
    """Lock the serving tables that no other session uses now: a GRANT, COMMENT or ALTER then waits for the new ones."""
    for table in projection.metadata.sorted_tables:
        lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT")
        with (
            contextlib.suppress(psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable),
            connection.transaction(),
        ):
            connection.execute(lock.format(sql.Identifier(projection.name, table.name)))


def _retired(projection: Projection) -> str:
    """The schema of the tables that a swap has replaced."""
    return f"{projection.name}_retired"


def _drop_retired(connection: Connection, projection: Projection) -> None:
    """Drop the tables that no longer serve. Raises SwapRefused while a session holds one."""
    schema = _retired(projection)
    try:
        drop_schema(connection, projection, schema)
    except psycopg.errors.LockNotAvailable:
        users = _users_of(connection, schema)
        raise SwapRefused(f"the tables that the last replay retired are still in use, by {users}") from None


def _users_of(connection: Connection, schema: str) -> str:
    ((users,),) = connection.execute(_USERS, (schema,)).fetchall()
    return f"{users or 'an unknown PostgreSQL process'}; end it, and replay again"
