"""Metrics for Prometheus: the figures of this process, and the state of the log. docs/metrics.md lists all of them."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from command.waiting import WAITING_MAX
from command.writer import Writer
from projector.bell import Bell
from service.http.connections import Connections

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
# A client may invent methods; a label must not have more values than these and `other`.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
# A client may send any method to any route. Such requests are counted, but get no histogram.
METHOD_NOT_ALLOWED = 405


def new_registry() -> CollectorRegistry:
    """A registry for the metrics of one process, without the `_created` samples that nothing here uses."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return CollectorRegistry()


class HttpMetrics:
    """Requests by method, route and status, their latency by method and route, and the requests in flight.

    A histogram has 15 lines in a scrape. One for each status as well would make a scrape several times as long.
    `python -m bench.observe` shows what observing costs a request.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.in_flight = 0
        under_way = Gauge("orders_http_requests_in_flight", "Requests that are not answered yet", registry=registry)
        under_way.set_function(lambda: self.in_flight)
        self._requests = Counter(
            "orders_http_requests",
            "Requests by the status of their answer",
            ["method", "route", "status"],
            registry=registry,
        )
        self._latencies = Histogram(
            "orders_http_request_duration_seconds",
            "Time from the end of a request's head to the end of its answer, unless its route lacks the method",
            ["method", "route"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        # To look a metric up by its labels takes longer than to count.
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram | None]] = {}

    def observe(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count one request. `route` is the path with the names of its parameters, None when no route matched."""
        labels = (method if method in _METHODS else "other", route or "unmatched", status)
        if labels not in self._known:
            latency = None if status == METHOD_NOT_ALLOWED else self._latencies.labels(*labels[:2])
            self._known[labels] = self._requests.labels(*labels), latency
        requests, latency = self._known[labels]
        requests.inc()
        if latency is not None:
            latency.observe(seconds)


class Counted(Collector):
    """The figures that the writer, the bell and the connections count by themselves; read when they are asked for."""

    def __init__(self, writer: Writer, bell: Bell, connections: Connections) -> None:
        self._writer, self._bell, self._connections = writer, bell, connections

    def collect(self) -> Iterable[Metric]:
        """The families."""
        yield GaugeMetricFamily("orders_writer_queue_length", "Commands that wait for a batch", self._writer.waiting)
        yield GaugeMetricFamily("orders_writer_queue_limit", "Commands that may wait at most", WAITING_MAX)
        bell = CounterMetricFamily("orders_bell", "Messages to the workers that there is news", labels=["result"])
        bell.add_metric(["rung"], self._bell.rung)
        bell.add_metric(["failed"], self._bell.failures)
        yield bell
        rejected = CounterMetricFamily("orders_http_rejected", "Rejected before they were read", labels=["reason"])
        for reason, number in self._connections.refused.items():
            rejected.add_metric([reason], number)
        yield rejected


def metrics_text(counted: Callable[[], Iterable[Metric]], state: list[Metric]) -> bytes:
    """The metrics in Prometheus' text format. It takes milliseconds, so a thread should do it."""
    return generate_latest(_Families([*counted(), *state]))


class _Families(Collector):
    """Metrics that are there already, as the collector that prometheus_client asks for."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families
