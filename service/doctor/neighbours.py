"""Checks of what stands beside the log: the clock, replicas, the migration, and Redis."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache

import redis
from dramatiq.brokers.redis import RedisBroker
from psycopg import Connection

from console.words import span
from database.position_group import NEWEST_HEAD
from projector import bell
from projector.redis_faults import fault_of
from service.doctor.finding import Check, Finding

# `recorded_at` never decreases. So after the clock was set back, new events keep the time of the last one.
CLOCK_OFF_MAX = timedelta(seconds=2)
REPLICA_SECONDS_MAX = 30
REPLICA_BYTES_MAX = 256 * 1024**2
MEMORY_SHARE_MAX = 0.9

_CLOCK = f"SELECT recorded_at, recorded_at - clock_timestamp(), clock_timestamp() FROM {NEWEST_HEAD}"  # noqa: S608 - ours

# Roles without pg_read_all_stats see no positions here, and get no finding.
_REPLICAS = """
SELECT coalesce(nullif(application_name, ''), 'unnamed'), coalesce(host(client_addr), 'a local socket'), state,
    pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint, extract(epoch FROM replay_lag)::float8,
    clock_timestamp() - replay_lag
FROM pg_stat_replication WHERE NOT pg_is_in_recovery() AND replay_lsn IS NOT NULL ORDER BY 1
"""

_REVISION = "SELECT version_num FROM log.orders_schema_version"


def _clock(connection: Connection) -> Iterator[Finding]:
    before = datetime.now(UTC)
    for recorded_at, ahead, now in connection.execute(_CLOCK):
        if ahead > CLOCK_OFF_MAX:
            yield Finding(
                f"the clock of PostgreSQL's machine is {span(ahead)} behind the last event, recorded at "
                f"{recorded_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
                "if that clock is slow (chronyc tracking shows it), set it right; if it was ahead before, wait: new "
                "events keep that time until the clock has passed it",
            )
        # The time of the question itself is no difference.
        slow, fast = before - now, now - datetime.now(UTC)
        if max(slow, fast) > CLOCK_OFF_MAX:
            off = f"{span(slow)} behind" if slow > fast else f"{span(fast)} ahead of"
            yield Finding(
                f"the clock of PostgreSQL's machine is {off} the clock of this one",
                "find out which of the two is wrong (chronyc tracking shows it), and set that one right",
            )


def _replicas(connection: Connection) -> Iterator[Finding]:
    for name, address, state, behind, seconds, since in connection.execute(_REPLICAS):
        if behind > REPLICA_BYTES_MAX or (seconds or 0) > REPLICA_SECONDS_MAX:
            yield Finding(
                f"the replica {name} at {address} ({state}) is {behind / 1024**2:,.0f} MiB of WAL behind"
                + (f", {seconds:.0f} s" if seconds else ""),
                "look at its log, its disk and the network; SELECT * FROM pg_stat_replication shows it",
                since,
            )


@cache
def _expected() -> str | None:
    from service.migrate import expected_revision  # the API imports this module, and needs no Alembic

    return expected_revision()


def _migration(connection: Connection) -> Iterator[Finding]:
    found = [row[0] for row in connection.execute(_REVISION)]
    if found != [_expected()]:
        yield Finding(
            f"the database is at revision {', '.join(found) or 'none'}, and this release expects {_expected()}",
            "orders migrate; if it refuses, the database is of a newer release: run that one",
        )


def redis_check(url: str) -> Check:
    """That the bell can ring and workers can be listed: Redis answers, takes writes, and has memory left."""
    return Check("redis", lambda _: _redis(url), "no event is lost, but reads follow commands up to a second later")


def _redis(url: str) -> Iterator[Finding]:
    try:
        with bell.client(url, "orders-doctor") as client:
            client.set(bell.PROBE_KEY, "", px=1_000)
            # As the API rings; a worker that hears it looks at the log once more.
            client.publish(bell.channel(client), b"")
            bell.queue(client, RedisBroker(client=client))  # type: ignore[no-untyped-call] # Dramatiq has no types
            bell.workers(url)  # as `orders status` and the console ask for them
            memory = client.info("memory")
    except (redis.RedisError, OSError) as error:
        fault = fault_of(error)
        yield Finding(fault.happened, fault.remedy)
    else:
        used, most = int(memory["used_memory"]), int(memory.get("maxmemory") or 0)
        if most and used > MEMORY_SHARE_MAX * most:
            yield Finding(
                f"Redis uses {used / most:.0%} of its maxmemory",
                "raise maxmemory, or give the service a Redis of its own: it needs a few MiB",
            )


# Every role may run these.
OF_SERVERS = (
    Check("clock", _clock, "the times of new events are wrong until then"),
    Check(
        "replicas", _replicas, "reads from the replica are stale, and a failover takes longer or loses what it lacks"
    ),
)
CHECKS = (*OF_SERVERS, Check("migration", _migration, "this release may fail on tables of another one"))
