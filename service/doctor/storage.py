"""Checks of what PostgreSQL keeps on its disk: dead rows, vacuum, indexes, and how long the disk lasts."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from psycopg import Connection

import access.tables
import eventlog.tables
from console.log import position_at
from database.position_group import NEWEST_HEAD
from database.remedies import make_room
from service.doctor.finding import Check, Finding, of_rows, set_back, with_psql
from service.projections import PROJECTIONS

# A vacuum keeps log.head below this. The writer finds the newest version by an index, whatever their number.
DEAD_ROWS_MAX = 10_000
# Beyond this share of dead rows, autovacuum should have begun long ago: its default is 0.2.
DEAD_SHARE_MAX = 0.5
# Of what autovacuum_freeze_max_age allows. PostgreSQL stops writes at ten times that age.
FREEZE_SHARE_MAX = 2
UNUSED_BYTES_MIN = 10 * 1024**2
UNUSED_DAYS = 7
DISK_DAYS_MIN = 14
# PostgreSQL cannot begin another file of its write-ahead log.
FULL_BYTES = 16 * 1024**2
FREE_BYTES_MIN = 512 * 1024**2
GROWTH_DAYS = 7
# The first import of a young log is no growth.
GROWTH_SECONDS_MIN = 86_400

_METADATA = (eventlog.tables.metadata, access.tables.metadata, *(it.metadata for it in PROJECTIONS))
_SCHEMAS = [str(it.schema) for it in _METADATA]

_DEAD_ROWS = """
SELECT n_dead_tup, last_autovacuum AS since FROM pg_stat_user_tables
WHERE relid = to_regclass('log.head') AND n_dead_tup > %(rows)s
"""

_VACUUM = """
SELECT relid::regclass::text, n_dead_tup, greatest(last_vacuum, last_autovacuum), age(relfrozenxid)
FROM pg_stat_user_tables JOIN pg_class ON pg_class.oid = relid
WHERE schemaname = ANY(%(schemas)s) AND (
    (n_dead_tup > %(rows)s AND n_dead_tup > %(share)s * n_live_tup)
    OR age(relfrozenxid) > %(freeze)s * current_setting('autovacuum_freeze_max_age')::bigint)
ORDER BY 1
"""

_OFF = "SELECT name FROM unnest(ARRAY['autovacuum', 'track_counts']) AS name WHERE current_setting(name) = 'off'"

_INVALID = """
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT indisvalid AND relnamespace::regnamespace::text = ANY(%s) ORDER BY 1
"""

# An index of the release may serve a filter that no client has used yet, so only those of others count.
_UNUSED = """
SELECT quote_ident(schemaname) || '.' || quote_ident(indexrelname), relid::regclass::text,
    pg_relation_size(indexrelid), stats_reset
FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid),
    LATERAL (SELECT coalesce(stats_reset, pg_postmaster_start_time()) AS stats_reset FROM pg_stat_database
        WHERE datname = current_database()) AS counted
WHERE schemaname = ANY(%(schemas)s) AND NOT indisunique AND idx_scan = 0 AND indexrelname <> ALL (%(ours)s)
    AND pg_relation_size(indexrelid) > %(bytes)s AND stats_reset < clock_timestamp() - make_interval(days => %(days)s)
ORDER BY 1
"""

# The directory is shown to superusers and to roles with pg_read_all_settings, through a socket of this machine alone.
_DISK = """
SELECT setting FROM pg_settings WHERE name = 'data_directory' AND inet_server_addr() IS NULL
"""

# How many events came behind a position, and in how many seconds.
_GROWTH = f"""
SELECT head.position - %(before)s, head.position, pg_database_size(current_database()),
    extract(epoch FROM clock_timestamp() - (SELECT recorded_at FROM log.events WHERE position = %(before)s + 1))::float8
FROM {NEWEST_HEAD}
"""  # noqa: S608 - put together from constants


def _vacuum(connection: Connection) -> Iterator[Finding]:
    for (name,) in connection.execute(_OFF):
        yield Finding(f"{name} is off", set_back(connection, name, "on"))
    limits = {"schemas": _SCHEMAS, "rows": DEAD_ROWS_MAX, "share": DEAD_SHARE_MAX, "freeze": FREEZE_SHARE_MAX}
    for table, dead, vacuumed_at, age in connection.execute(_VACUUM, limits):
        if table != "log.head":
            yield Finding(
                f"autovacuum is late on {table}: {dead:,} dead rows, oldest transaction id {age:,} transactions old",
                with_psql(f"end what `left open` names, if anything, and then: VACUUM {table}"),
                vacuumed_at,
            )


def _indexes(connection: Connection) -> Iterator[Finding]:
    for (index,) in connection.execute(_INVALID, (_SCHEMAS,)):
        yield Finding(
            f"the index {index} is invalid: nothing uses it, and every write pays for it",
            with_psql(f"build it again: REINDEX INDEX CONCURRENTLY {index}"),
        )
    yield from unused_indexes(connection)


def unused_indexes(
    connection: Connection, days: int = UNUSED_DAYS, bytes_min: int = UNUSED_BYTES_MIN
) -> Iterator[Finding]:
    """Indexes that others made, larger than `bytes_min`, which no query used since the statistics began `days` ago."""
    tables = [table for metadata in _METADATA for table in metadata.sorted_tables]
    ours = [str(index.name) for table in tables for index in table.indexes]
    limits = {"schemas": _SCHEMAS, "ours": ours, "bytes": bytes_min, "days": days}
    for index, table, size, since in connection.execute(_UNUSED, limits):
        yield Finding(
            f"the index {index} on {table} is not of this release, takes {size / 1024**2:,.0f} MiB, "
            "and no query has used it",
            with_psql(f"if no query needs it: DROP INDEX CONCURRENTLY {index}"),
            since,
        )


def disk(connection: Connection) -> Iterator[Finding]:
    """What is wrong with the room on the disk, if PostgreSQL runs on this machine and the role may know where."""
    for (directory,) in connection.execute(_DISK).fetchall():
        if Path(directory).exists():
            found = os.statvfs(directory)
            yield from disk_findings(connection, directory, found.f_bavail * found.f_frsize)


def disk_findings(connection: Connection, directory: str, free_bytes: int) -> Iterator[Finding]:
    """A finding if the disk has less than FREE_BYTES_MIN free, or is full within DISK_DAYS_MIN at the recent growth."""
    days_left = None
    before = position_at(connection, datetime.now(UTC) - timedelta(days=GROWTH_DAYS))
    row = connection.execute(_GROWTH, {"before": before}).fetchone()
    if row is not None:
        events, head, size, seconds = row
        if events and seconds > GROWTH_SECONDS_MIN:
            bytes_a_day = size / head * events / seconds * 86_400
            days_left = free_bytes / bytes_a_day
    if free_bytes < FREE_BYTES_MIN or (days_left is not None and days_left < DISK_DAYS_MIN):
        room = "is full" if free_bytes < FULL_BYTES else f"has {free_bytes / 1024**2:,.0f} MiB free"
        if days_left is not None and free_bytes >= FULL_BYTES:
            room += f"; at the growth of the last {GROWTH_DAYS} days that lasts {days_left:.1f} days"
        yield Finding(
            f"the disk of {directory} {room}",
            f"{make_room(directory)}; commands go on by themselves when there is room",
        )


CHECKS = (
    Check(
        "dead rows",
        of_rows(
            _DEAD_ROWS,
            "log.head has {n_dead_tup:,} dead row versions, which take space",
            with_psql("end what `left open` names, if anything, and then: VACUUM log.head"),
            rows=DEAD_ROWS_MAX,
        ),
        "what keeps them here lets the other tables grow too",
    ),
    Check("vacuum", _vacuum, "tables grow and become slow, and PostgreSQL stops writes before transaction ids run out"),
    Check("indexes", _indexes, "every write keeps the index up to date, and no read gains from it"),
    Check("disk", disk, "when the disk is full, every command is refused with 503"),
)
