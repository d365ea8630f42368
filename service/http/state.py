"""The state of the log and the projections, read from PostgreSQL when Prometheus scrapes.

Every API process reports the same state, whichever one is scraped. The lag is computed against the log here, so that a
worker that is dead cannot look healthy.
"""

import asyncio
import logging
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from contract.problems import Problem
from projector.status import Standing
from query.database import Reads, Statement
from service.health.standings import mirrors_of, standings_of
from service.version import VERSION

# Scrapes within this time share one look at the database.
KEPT_SECONDS = 1.0
SECONDS_MAX = 0.5
STATES = ("live", "catching_up", "rebuilding", "outdated", "stopped")

# Of roles without pg_read_all_stats PostgreSQL hides when the transactions of other roles began.
_DATABASE = Statement(
    b"""
SELECT
    (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()),
    (SELECT coalesce(sum(n_dead_tup), 0)::float8 FROM pg_stat_user_tables WHERE relid = to_regclass('log.head')),
    pg_total_relation_size('log.events')::float8
"""
)

log = logging.getLogger(__name__)


class State:
    """The gauges about the database, no older than KEPT_SECONDS."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._lock = asyncio.Lock()
        self._kept: list[Metric] = []
        self._read_at = float("-inf")

    async def families(self) -> list[Metric]:
        """The gauges. When the database does not answer in time, `orders_database_up` is 0 and the others are missing.

        The scrape still answers then, with the figures that the process counts itself.
        """
        async with self._lock:
            if time.monotonic() - self._read_at > KEPT_SECONDS:
                self._kept = await self._read()
                self._read_at = time.monotonic()
            return [_build_info(), *self._kept]

    async def _read(self) -> list[Metric]:
        try:
            async with asyncio.timeout(SECONDS_MAX):
                standings = await standings_of(self._reads)
                mirrors = await mirrors_of(self._reads)
                (database,) = await self._reads.rows(_DATABASE, {})
        except (Problem, TimeoutError):
            log.warning("the metrics are without the database's: it does not answer, or is not migrated")
            return [_up(0)]
        return [_up(1), *_of_log(standings, database), *_of_projections(standings), *_of_mirrors(mirrors)]


def _of_log(standings: Sequence[Standing], database: Sequence[Any]) -> list[Metric]:
    """The gauges of the log; `database` is a row of _DATABASE."""
    oldest_transaction, dead_rows, log_bytes = database
    heartbeat = max(it.seen_at.timestamp() for it in standings)
    return [
        _gauge("orders_log_head_position", "Position of the log's last event", max(it.head for it in standings)),
        _gauge("orders_log_bytes", "Size of the table of events, with its indexes", log_bytes),
        _gauge("orders_log_head_dead_rows", "Dead row versions of log.head that a vacuum has to remove", dead_rows),
        _gauge("orders_database_oldest_transaction_seconds", "Age of the oldest open transaction", oldest_transaction),
        _gauge("orders_worker_heartbeat_timestamp_seconds", "When a worker last looked at the log", heartbeat),
    ]


def _of_projections(standings: Sequence[Standing]) -> list[Metric]:
    states = GaugeMetricFamily(
        "orders_projection_state", "1 for the state of the projection, 0 for the others", labels=["projection", "state"]
    )
    for standing in standings:
        for state in STATES:
            states.add_metric([standing.name, state], standing.state == state)
    figures: tuple[tuple[str, str, Callable[[Standing], float | None]], ...] = (
        ("orders_projection_position", "Position of the last event projected", lambda it: it.position),
        ("orders_projection_lag_events", "Events that are not projected yet", lambda it: it.lag_events),
        ("orders_projection_lag_seconds", "Age of the first event not projected", lambda it: it.lag.total_seconds()),
        ("orders_parked_streams", "Streams that are parked", lambda it: it.parked),
        ("orders_replay_progress_ratio", "How much of a rebuild is done; missing without one", lambda it: it.progress),
    )
    found: list[Metric] = [states]
    for name, meaning, figure in figures:
        family = GaugeMetricFamily(name, meaning, labels=["projection"])
        for standing in standings:
            if (value := figure(standing)) is not None:
                family.add_metric([standing.name], value)
        found.append(family)
    return found


def _of_mirrors(standings: Sequence[Standing]) -> list[Metric]:
    states = GaugeMetricFamily(
        "orders_mirror_state",
        "1 for the state of the mirror, 0 for the others",
        labels=["mirror", "projection", "state"],
    )
    for standing in standings:
        for state in (*STATES, "ended"):
            states.add_metric([standing.mirror or "", standing.name, state], standing.state == state)
    figures: tuple[tuple[str, str, Callable[[Standing], float]], ...] = (
        ("orders_mirror_position", "Position of the last event mirrored", lambda it: it.position),
        ("orders_mirror_lag_events", "Events not mirrored yet", lambda it: it.lag_events),
        ("orders_mirror_lag_seconds", "Age of the first event not mirrored", lambda it: it.lag.total_seconds()),
        ("orders_mirror_parked_streams", "Streams that the mirror holds back", lambda it: it.parked),
    )
    found: list[Metric] = [states]
    for name, meaning, figure in figures:
        family = GaugeMetricFamily(name, meaning, labels=["mirror", "projection"])
        for standing in standings:
            family.add_metric([standing.mirror or "", standing.name], figure(standing))
        found.append(family)
    return found


def _build_info() -> Metric:
    built = GaugeMetricFamily("orders_build_info", "1; the labels tell the versions", labels=["version", "python"])
    built.add_metric([VERSION, platform.python_version()], 1)
    return built


def _up(value: int) -> Metric:
    return _gauge("orders_database_up", "1 if the database answered this scrape", value)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value)
