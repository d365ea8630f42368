"""Replay: rebuild the read tables from event 1 while the old ones serve, then let the new ones take their place.

The same loop as live projection, on a schema of its own. At the end one short transaction holds the checkpoint of the
serving tables, projects the last mile, and renames. Every select reads the checkpoint first (see query/statements.py),
so holding it holds all readers out for that moment: nobody sees a table of one age beside a table of another. A crash
at any point leaves the old tables serving, and the next replay begins afresh.
"""

import contextlib
import time

import psycopg
from psycopg import Connection, sql

from projector import dependents, heritage
from projector.loop import Progress, connect
from projector.read_ahead import ReadAhead
from projector.shadow import BATCH_EVENTS, REPLAY_SCHEMA, Report, Shadow, building, drop_schema
from readmodel import tables

_RETIRED = "read_retired"

# Readers queue behind a swap that waits for its lock, so it does not wait long; it steps back and tries again.
SWAP_LOCK_MS_MAX = 300
SWAP_PAUSE_SECONDS = 0.5
SWAP_TRIES_MAX = 120

_USERS = """
SELECT string_agg(DISTINCT pid::text, ', ')
FROM pg_locks AS lock JOIN pg_class AS class ON class.oid = lock.relation
    JOIN pg_namespace AS schema ON schema.oid = class.relnamespace
WHERE schema.nspname = %s AND lock.granted AND lock.pid <> pg_backend_pid()
    AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class SwapRefused(Exception):
    """Somebody held the read tables all the time, so the new ones could not take their place."""


def replay(database_url: str, report: Report) -> Progress:
    """Rebuild all read tables. Returns where they then are.

    `report` is called after each batch. Raises Busy, SwapRefused, InTheWay and psycopg.Error; then the old tables go on
    serving, and what was built is dropped.
    """
    with building(database_url) as connection, ReadAhead(connect(database_url)) as ahead:
        _drop_retired(connection)
        with Shadow(connection, REPLAY_SCHEMA, read_page=ahead.page) as shadow:
            dependents.look(connection, tables.SCHEMA, shadow.schema)  # before all the work; and once more after it
            shadow.fill(report)
            shadow.finish()
            progress = _swap_when_free(connection, shadow, report)
        # The new tables serve: if somebody still holds an old one, the next replay drops it.
        with contextlib.suppress(SwapRefused, KeyboardInterrupt):
            _drop_retired(connection)
    return progress


def _swap_when_free(connection: Connection, shadow: Shadow, report: Report) -> Progress:
    for _ in range(SWAP_TRIES_MAX):
        # Also after a try in vain: the last mile is to be short again.
        shadow.fill(report)
        try:
            progress = _swap(connection, shadow)
        except psycopg.errors.LockNotAvailable:
            time.sleep(SWAP_PAUSE_SECONDS)
        else:
            report(progress)
            return progress
    raise SwapRefused(f"the read tables were in use for too long, by {_users_of(connection, tables.SCHEMA)}")


def _swap(connection: Connection, shadow: Shadow) -> Progress:
    """Project the last mile and rename, in one transaction. Raises LockNotAvailable."""
    serving = sql.Identifier(tables.SCHEMA, "checkpoint")
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{SWAP_LOCK_MS_MAX}ms'")
        # The only lock that is waited for: a rename needs none of the tables', and dropping the old ones can wait.
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(serving))
        row = connection.execute(sql.SQL("SELECT max(position) FROM {}").format(serving)).fetchone()
        assert row is not None, "an aggregate has a row"
        dependents.look(connection, tables.SCHEMA, shadow.schema)
        # Not behind what readers have already seen, unless the log itself is: it was restored without the read tables.
        # What comes while we do this, the worker projects afterwards.
        while (progress := shadow.loop.project(connection, BATCH_EVENTS)).position < min(row[0], progress.head):
            pass
        shadow.heed_skips()
        inherited = heritage.statements(connection, tables.SCHEMA, shadow.schema)
        views = dependents.views(connection, tables.SCHEMA)
        for old, new in ((tables.SCHEMA, _RETIRED), (shadow.schema, tables.SCHEMA)):
            connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))
        for statement in (*views, *inherited):
            connection.execute(statement.encode())
    return progress


def _drop_retired(connection: Connection) -> None:
    """Drop the tables that no longer serve. Raises SwapRefused while somebody holds one."""
    try:
        drop_schema(connection, _RETIRED)
    except psycopg.errors.LockNotAvailable:
        users = _users_of(connection, _RETIRED)
        raise SwapRefused(f"the tables that the last replay retired are still in use, by {users}") from None


def _users_of(connection: Connection, schema: str) -> str:
    row = connection.execute(_USERS, (schema,)).fetchone()
    return f"PostgreSQL process {row[0] if row and row[0] else 'unknown'}; end it, and replay again"
