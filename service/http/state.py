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

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from contract.problems import Problem
from projector.status import Standing
from query.database import Reads, Statement
from service.doctor.verified import VERIFIED
from service.health.standings import mirrors_of, standings_of
from service.version import VERSION

# Scrapes within this time share one look at the database.
KEPT_SECONDS = 1.0
SECONDS_MAX = 0.5
STATES = ("live", "catching_up", "rebuilding", "outdated", "stopped")

# Of each projection, and of each mirror of one: the end of the metric's name, its meaning, and the value.
_FIGURES: tuple[tuple[str, str, Callable[[Standing], float | None]], ...] = (
    ("position", "Position of the last event that is in", lambda it: it.position),
    ("lag_events", "Events that are not in yet", lambda it: it.lag_events),
    ("lag_seconds", "Age of the first event that is not in, 0 if there is none", lambda it: it.lag.total_seconds()),
)
_OF_PROJECTIONS: tuple[tuple[str, str, Callable[[Standing], float | None]], ...] = (
    ("orders_parked_streams", "Streams that are parked", lambda it: it.parked),
    (
        "orders_parked_oldest_timestamp_seconds",
        "When the first of them was parked; missing if none is",
        lambda it: it.parked_since.timestamp() if it.parked_since else None,
    ),
    ("orders_replay_progress_ratio", "How much of a rebuild is done; missing without one", lambda it: it.progress),
)

# Of roles without pg_read_all_stats PostgreSQL hides when the transactions of other roles began.
_DATABASE = Statement(
    b"""
SELECT
    (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()),
    (SELECT coalesce(sum(n_dead_tup), 0)::float8 FROM pg_stat_user_tables WHERE relid = to_regclass('log.head')),
    pg_total_relation_size('log.events')::float8,
    (SELECT jsonb_build_object(
        'accepted', coalesce(sum(accepted), 0),
        'already_there', coalesce(sum(already_there), 0),
        'refused', coalesce(sum((SELECT sum(value::bigint) FROM json_each_text(refused))), 0)
    ) FROM operations.imports)
"""
)

_VERIFIED = Statement(VERIFIED)

log = logging.getLogger(__name__)


class State:
    """The gauges about the database, no older than KEPT_SECONDS."""

    def __init__(self, reads: Reads, workers: Callable[[], int | None]) -> None:
        """`workers` returns how many workers hear the bell; None while Redis does not answer."""
        self._reads = reads
        self._workers = workers
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
            workers = GaugeMetricFamily("orders_workers_live", "Workers that hear the bell", self._workers())
            return [_build_info(), workers, *self._kept]

    async def _read(self) -> list[Metric]:
        try:
            async with asyncio.timeout(SECONDS_MAX):
                standings = await standings_of(self._reads)
                mirrors = await mirrors_of(self._reads)
                (database,) = await self._reads.rows(_DATABASE, {})
                verified = await self._reads.rows(_VERIFIED, {"days": 0})
        except (Problem, TimeoutError):
            log.warning("the metrics are without the database's: it does not answer, or is not migrated")
            return [_up(0)]
        return [
            _up(1),
            *_of_log(standings, database),
            *_of_standings("orders_projection", ["projection"], STATES, standings),
            *[_each(name, meaning, standings, figure, ["projection"]) for name, meaning, figure in _OF_PROJECTIONS],
            *_of_verify(verified),
            *_of_standings("orders_mirror", ["mirror", "projection"], (*STATES, "ended"), mirrors),
            _each("orders_mirror_parked_streams", "Streams that the mirror holds back", mirrors, lambda it: it.parked),
        ]


def _of_log(standings: Sequence[Standing], database: Sequence[Any]) -> list[Metric]:
    """The gauges of the log, and what was imported into it; `database` is a row of _DATABASE."""
    oldest_transaction, dead_rows, log_bytes, imported = database
    heartbeat = max(it.seen_at.timestamp() for it in standings)
    rows = CounterMetricFamily("orders_import_rows", "Rows of all imports by outcome", labels=["outcome"])
    for outcome, number in imported.items():
        rows.add_metric([outcome], number)
    return [
        _gauge("orders_log_head_position", "Position of the log's last event", max(it.head for it in standings)),
        _gauge("orders_log_bytes", "Size of the table of events, with its indexes", log_bytes),
        _gauge("orders_log_head_dead_rows", "Dead row versions of log.head that a vacuum has to remove", dead_rows),
        _gauge("orders_database_oldest_transaction_seconds", "Age of the oldest open transaction", oldest_transaction),
        _gauge("orders_worker_heartbeat_timestamp_seconds", "When a worker last looked at the log", heartbeat),
        rows,
    ]


def _of_standings(
    name: str, labels: Sequence[str], states: Sequence[str], standings: Sequence[Standing]
) -> list[Metric]:
    """State, position and lag: of projections, or of mirrors."""
    family = GaugeMetricFamily(f"{name}_state", "1 for the state, 0 for the others", labels=[*labels, "state"])
    for standing in standings:
        for state in states:
            family.add_metric([*_labels(standing), state], standing.state == state)
    figures = [_each(f"{name}_{end}", meaning, standings, figure, labels) for end, meaning, figure in _FIGURES]
    return [family, *figures]


def _of_verify(rows: Sequence[Sequence[Any]]) -> list[Metric]:
    """The last verify of each projection; `rows` are those of _VERIFIED. Missing before the first."""
    times = GaugeMetricFamily(
        "orders_verify_timestamp_seconds", "When the projection was last verified", labels=["projection"]
    )
    differences = GaugeMetricFamily(
        "orders_verify_differences", "Differences that this verify found, 0 after a replay", labels=["projection"]
    )
    for projection, verified_at, _, found, _ in rows:
        if verified_at is not None:
            times.add_metric([projection], verified_at.timestamp())
            differences.add_metric([projection], found)
    return [times, differences]


def _each(
    name: str,
    meaning: str,
    standings: Sequence[Standing],
    figure: Callable[[Standing], float | None],
    labels: Sequence[str] = ("mirror", "projection"),
) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for standing in standings:
        if (value := figure(standing)) is not None:
            family.add_metric(_labels(standing), value)
    return family


def _labels(standing: Standing) -> list[str]:
    return [standing.name] if standing.mirror is None else [standing.mirror, standing.name]


def _build_info() -> Metric:
    built = GaugeMetricFamily("orders_build_info", "1; the labels tell the versions", labels=["version", "python"])
    built.add_metric([VERSION, platform.python_version()], 1)
    return built


def _up(value: int) -> Metric:
    return _gauge("orders_database_up", "1 if the database answered this scrape", value)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value)
