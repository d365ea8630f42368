"""What Prometheus scrapes: what the writer has done, what waits, and how far the read tables are behind."""

import logging
from collections.abc import Callable, Iterator

import psycopg
from prometheus_client import CollectorRegistry, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from command.writer import Writer
from contract.problems import Problem
from projector.status import Standing
from query.database import Reads
from service.health.standings import standings_of
from service.http.connections import Connections

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
# A client may invent methods; a label must not have more values than these and `other`.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})

log = logging.getLogger(__name__)


def new_registry() -> CollectorRegistry:
    """A registry for the metrics of one process, without the `_created` samples that nothing here uses."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return CollectorRegistry()


class HttpMetrics:
    """The latency of requests by method, route and status, and the number of requests in flight."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.in_flight = 0
        self._seconds = Histogram(
            "orders_http_request_duration_seconds",
            "Time from the first byte of a request's head to the end of its answer",
            ["method", "route", "status"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        in_flight = Gauge("orders_http_requests_in_flight", "Requests that are not answered yet", registry=registry)
        in_flight.set_function(lambda: self.in_flight)
        # Looking a child up in the histogram costs three times as much as observing.
        self._children: dict[tuple[str, str | None, int], Histogram] = {}

    def observe(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count one request. `route` is the path with the names of its parameters, None when no route matched."""
        key = (method, route, status)
        child = self._children.get(key)
        if child is None:
            labels = (method if method in _METHODS else "other", route or "unmatched", str(status))
            child = self._seconds.labels(*labels)
            if method in _METHODS:
                self._children[key] = child
        child.observe(seconds)


def process_families(registry: CollectorRegistry, writer: Writer, connections: Connections) -> list[Metric]:
    """The figures that this process counts itself."""
    return [*registry.collect(), *_of_writer(writer), _of_connections(connections)]


async def metrics_text(counted: list[Metric], reads: Reads) -> bytes:
    """The metrics in Prometheus' text format: what the processes counted, and the database's figures.

    They are read off when asked for, and cost nothing otherwise. What the database knows is left out while it is away:
    the process's own figures are worth most then.
    """
    families = list(counted)
    try:
        families += _of_projections(await standings_of(reads))
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
