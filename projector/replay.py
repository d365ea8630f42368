"""Replay: rebuild the read tables from event 1 while the old ones serve, then let the new ones take their place.

The same loop as live projection, on a schema of its own. At the end one short transaction holds the checkpoint of the
serving tables, projects the last mile, and renames. Every select reads the checkpoint first (see query/statements.py),
so holding it holds all readers out for that moment: nobody sees a table of one age beside a table of another. A crash
at any point leaves the old tables serving, and the next replay begins afresh.
"""

import time

import psycopg
from psycopg import Connection, sql

from projector.loop import Progress, connect
from projector.shadow import BATCH_EVENTS, Report, Shadow, only_one
from readmodel import tables

SHADOW = "read_next"
_RETIRED = "read_retired"

# Readers queue behind a swap that waits for its lock, so it does not wait long; it steps back and tries again.
SWAP_LOCK_MS_MAX = 300
SWAP_PAUSE_SECONDS = 0.5
SWAP_TRIES_MAX = 120

# Privileges belong to a table, not to its name: the new tables get what the old ones granted.
_GRANTS = """
SELECT format('GRANT %%s ON SCHEMA %%I TO %%s%%s', acl.privilege_type, %(new)s::text,
              CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END,
              CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_namespace AS schema, aclexplode(schema.nspacl) AS acl
WHERE schema.nspname = %(old)s AND acl.grantee <> schema.nspowner
UNION ALL
SELECT format('GRANT %%s ON %%I.%%I TO %%s%%s', acl.privilege_type, %(new)s::text, class.relname,
              CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END,
              CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_class AS class JOIN pg_namespace AS schema ON schema.oid = class.relnamespace, aclexplode(class.relacl) AS acl
WHERE schema.nspname = %(old)s AND class.relkind = 'r' AND acl.grantee <> class.relowner
"""


class SwapRefused(Exception):
    """Somebody held the read tables all the time, so the new ones could not take their place."""


def replay(database_url: str, report: Report) -> Progress:
    """Rebuild all read tables. Returns where they then are.

    `report` is called after each batch. Raises Busy, SwapRefused, ProjectionFailed and psycopg.Error; then the old
    tables go on serving.
    """
    with connect(database_url) as connection, only_one(connection):
        shadow = Shadow(connection, SHADOW)
        shadow.create()
        shadow.fill(report)
        shadow.finish()
        for _ in range(SWAP_TRIES_MAX):
            shadow.fill(report)
            try:
                return _swap(connection, shadow)
            except psycopg.errors.LockNotAvailable:
                time.sleep(SWAP_PAUSE_SECONDS)
        blocking = _blocking(connection)
        shadow.drop()
        raise SwapRefused(f"the read tables were in use for too long, by PostgreSQL process {blocking}; end it, and replay again")


def _swap(connection: Connection, shadow: Shadow) -> Progress:
    """Project the last mile and rename, in one transaction. Raises LockNotAvailable."""
    serving = sql.Identifier(tables.SCHEMA, "checkpoint")
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{SWAP_LOCK_MS_MAX}ms'")
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(serving))
        # Never behind what readers have already seen; what comes while we do this, the worker projects afterwards.
        while (progress := shadow.loop.project(connection, BATCH_EVENTS)).lag and progress.position < _position(connection):
            pass
        grants = connection.execute(_GRANTS, {"old": tables.SCHEMA, "new": SHADOW}).fetchall()
        for (grant,) in grants:
            connection.execute(grant)
        for old, new in ((tables.SCHEMA, _RETIRED), (SHADOW, tables.SCHEMA)):
            connection.execute(
                sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
            )
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(_RETIRED)))
    return progress


def _position(connection: Connection) -> int:
    row = connection.execute(
        sql.SQL("SELECT position FROM {}").format(sql.Identifier(tables.SCHEMA, "checkpoint"))
    ).fetchone()
    assert row is not None, "the migration made the checkpoint"
    position: int = row[0]
    return position


def _blocking(connection: Connection) -> str:
    row = connection.execute(
        "SELECT string_agg(DISTINCT pid::text, ', ') FROM pg_locks WHERE relation = %s::regclass AND pid <> pg_backend_pid()",
        (f"{tables.SCHEMA}.checkpoint",),
    ).fetchone()
    return str(row[0]) if row and row[0] else "unknown"
