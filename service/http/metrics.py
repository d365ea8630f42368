"""What Prometheus scrapes: what the writer has done, what waits, and how far the read tables are behind."""

import logging
from collections.abc import Callable, Iterator

import psycopg
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from command.writer import Writer
from contract.problems import Problem
from projector.status import Standing
from query.database import Reads
from service.health.standings import mirrors_of, standings_of
from service.http.connections import Connections

log = logging.getLogger(__name__)


def process_families(writer: Writer, connections: Connections) -> list[Metric]:
    """The figures that this process counts itself."""
    return [*_of_writer(writer), _of_connections(connections)]


async def metrics_text(counted: list[Metric], reads: Reads) -> bytes:
    """The metrics in Prometheus' text format: what the processes counted, and the database's figures.

    They are read off when asked for, and cost nothing otherwise. What the database knows is left out while it is away:
    the process's own figures are worth most then.
    """
    families = list(counted)
    try:
        families += _of_projections(await standings_of(reads))
        families += _of_mirrors(await mirrors_of(reads))
    except (Problem, psycopg.Error):
        log.warning("the metrics are without the database's: it is away, or not migrated")
    registry = CollectorRegistry()
    registry.register(_Collected(families))
    return generate_latest(registry)


class _Collected:
    """Metrics that are there already, as the collector that prometheus_client asks for."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _of_writer(writer: Writer) -> Iterator[Metric]:
    commands = CounterMetricFamily("orders_commands", "Commands by outcome", labels=["outcome"])
    for outcome, number in writer.counts.items():
        commands.add_metric([outcome], number)
    yield commands
    yield CounterMetricFamily("orders_batches", "Transactions that commands were committed in", writer.batches)
    yield CounterMetricFamily("orders_events_appended", "Events appended", writer.events)
    yield GaugeMetricFamily("orders_commands_waiting", "Commands that wait for their batch", writer.waiting)


def _of_connections(connections: Connections) -> Metric:
    refused = CounterMetricFamily("orders_requests_refused", "Refused before they were read", labels=["no_room_for"])
    for reason, number in connections.refused.items():
        refused.add_metric([reason], number)
    return refused


def _of_projections(standings: list[Standing]) -> Iterator[Metric]:
    yield GaugeMetricFamily("orders_log_head", "Position of the log's last event", max(it.head for it in standings))
    figures: tuple[tuple[str, str, Callable[[Standing], float]], ...] = (
        ("orders_projection_position", "Position of the last event projected", lambda it: it.position),
        ("orders_projection_parked_streams", "Streams held back", lambda it: it.parked),
        ("orders_projection_lag_events", "Events not projected yet", lambda it: it.lag_events),
        ("orders_projection_lag_seconds", "Age of the first event not projected", lambda it: it.lag.total_seconds()),
        ("orders_projection_version", "Version of the tables", lambda it: it.version),
        ("orders_projection_outdated", "1 if another release built the tables", lambda it: it.outdated is not None),
    )
    for name, meaning, figure in figures:
        family = GaugeMetricFamily(name, meaning, labels=["projection"])
        for standing in standings:
            family.add_metric([standing.name], figure(standing))
        yield family


def _of_mirrors(standings: list[Standing]) -> Iterator[Metric]:
    figures: tuple[tuple[str, str, Callable[[Standing], float]], ...] = (
        ("orders_mirror_position", "Position of the last event mirrored", lambda it: it.position),
        ("orders_mirror_lag_events", "Events not mirrored yet", lambda it: it.lag_events),
        ("orders_mirror_lag_seconds", "Age of the first event not mirrored", lambda it: it.lag.total_seconds()),
        ("orders_mirror_parked_streams", "Streams that the mirror holds back", lambda it: it.parked),
    )
    for name, meaning, figure in figures:
        family = GaugeMetricFamily(name, meaning, labels=["mirror", "projection"])
        for standing in standings:
            family.add_metric([standing.mirror or "", standing.name], figure(standing))
        yield family
