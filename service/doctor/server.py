"""PostgreSQL itself: is it durable, who stands in the way, and what keeps it from cleaning up."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from psycopg import Connection

from service.doctor.finding import Check, Finding, set_back, with_psql
from service.health import durability
from service.health.holders import HELD_SECONDS_MIN, HOLDERS, Holder, session

IDLE_SECONDS_MAX = 60
# A transaction open for so long keeps dead versions of log.head and of the checkpoint, which are written all the time.
OPEN_SECONDS_MAX = 900
PREPARED_SECONDS_MAX = 10
SLOT_BYTES_MAX = 1024**3

_LONG = """
SELECT pid, application_name, state, floor(extract(epoch FROM clock_timestamp() - xact_start))::integer, query, datname
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND (xact_start < clock_timestamp() - make_interval(secs => %(open)s)
        OR (state LIKE 'idle in transaction%%' AND datname = current_database()
            AND state_change < clock_timestamp() - make_interval(secs => %(idle)s)))
ORDER BY xact_start
"""

_PREPARED = """
SELECT gid, database, floor(extract(epoch FROM clock_timestamp() - prepared))::integer FROM pg_prepared_xacts
WHERE prepared < clock_timestamp() - make_interval(secs => %s) ORDER BY prepared
"""

_SLOTS = """
SELECT slot_name, wal_status, pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::bigint
FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL ORDER BY slot_name
"""


# As a new session has it: the console sets its own.
_READ_ONLY = """
SELECT reset_val::boolean AND NOT pg_is_in_recovery() FROM pg_settings WHERE name = 'default_transaction_read_only'
"""


def _writable(connection: Connection) -> Iterator[Finding]:
    if connection.execute(_READ_ONLY).fetchall() == [(True,)]:
        name = "default_transaction_read_only"
        yield Finding(f"{name} is on", set_back(connection, name, "off", f"SET {name} = off"))


def _durable(connection: Connection) -> Iterator[Finding]:
    for name in durability.switched_off(connection):
        yield Finding(f"{name} is off", durability.remedy([name]))


def _in_the_way(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(HOLDERS, {"seconds": HELD_SECONDS_MIN}):
        holder = Holder(*row)
        yield Finding(f"{_effect(holder)}{holder}", _end(holder.pid), _ago(holder.seconds))


def _left_open(connection: Connection) -> Iterator[Finding]:
    parameters = {"open": OPEN_SECONDS_MAX, "idle": IDLE_SECONDS_MAX}
    for pid, application, state, seconds, query, database in connection.execute(_LONG, parameters):
        yield Finding(
            f"{session(pid, application, state, seconds, query)} has a transaction open in {database}, "
            "which keeps dead versions of rows",
            _end(pid),
            _ago(seconds),
        )


def _prepared(connection: Connection) -> Iterator[Finding]:
    for gid, database, seconds in connection.execute(_PREPARED, (PREPARED_SECONDS_MAX,)):
        yield Finding(
            f"the transaction {gid!r} was prepared in {database} {seconds} s ago and neither committed nor rolled back",
            f"connect psql to {database}, and there: COMMIT PREPARED or ROLLBACK PREPARED {gid!r}",
            _ago(seconds),
        )


def _slots(connection: Connection) -> Iterator[Finding]:
    for name, status, kept in connection.execute(_SLOTS):
        if kept > SLOT_BYTES_MAX or status in {"unreserved", "lost"}:
            yield Finding(
                f"the unused replication slot {name!r} keeps {kept / 1024**2:,.0f} MiB of WAL ({status})",
                with_psql(f"start its standby again, or: SELECT pg_drop_replication_slot('{name}')"),
            )


def _effect(holder: Holder) -> str:
    """What waits for the one row that the session holds; empty if it holds another lock."""
    if "log.head" in holder.holds.split(", "):
        return "every write is refused with 503 after 5 seconds: "
    return "the read tables stay as they are: " if ".checkpoint" in holder.holds else ""


def _ago(seconds: int) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def _end(pid: int) -> str:
    return with_psql(f"end it, if it is no longer needed: SELECT pg_terminate_backend({pid})")


CHECKS = (
    Check("writes", _writable, "every command is refused with 503"),
    Check("durability", _durable, "a crash of the server may lose orders that were answered with 201"),
    Check("in the way", _in_the_way, "what needs the lock waits until this session ends its transaction"),
    Check(
        "left open",
        _left_open,
        "PostgreSQL keeps every dead row that this transaction could see, so hot tables become slow",
    ),
    Check(
        "prepared transactions",
        _prepared,
        "it holds its locks, and keeps dead rows, until it is committed or rolled back",
    ),
    Check("replication slots", _slots, "the server keeps WAL for this slot until the disk is full"),
)
