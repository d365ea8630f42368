"""The worker process: `dramatiq service.worker:setup`, which `orders work` runs."""

import logging
import sys
from collections.abc import Callable

import dramatiq
from dramatiq import Broker, Middleware, Worker
from prometheus_client import ProcessCollector, start_http_server

from projector import bell
from projector.jobs.runner import Runner
from projector.metrics import ProjectorMetrics
from projector.worker import Projectors, set_up
from service import logs
from service.errors import MISUSE, OperatorError
from service.garbage import collect_seldom
from service.http.metrics import new_registry
from service.lifeline import die_with_parent
from service.projections import PROJECTIONS
from service.settings import Settings
from service.tracing import traces_of

log = logging.getLogger(__name__)

if __name__ in sys.argv:
    # Dramatiq would take its default broker, project nothing, and say nothing.
    sys.exit("orders: name the function too: dramatiq service.worker:setup; `orders work` runs that")


def setup() -> None:
    """Give Dramatiq a broker whose workers project; it calls this in every process that it starts."""
    settings = Settings.load()
    logs.configure(settings.log_format, settings.log_level)
    if settings.database_url is None or settings.redis_url is None:
        raise OperatorError("DATABASE_URL and REDIS_URL must be set: `orders work` does that", exit_code=MISUSE)
    die_with_parent()
    # Parked streams stay in memory: with 10,000 of them Python's own thresholds double the time of large batches.
    collect_seldom()
    metrics = serve_metrics(settings.metrics_host, settings.metrics_port) if settings.metrics_port else None
    broker = bell.broker(settings.redis_url)
    dramatiq.set_broker(broker)
    traces = traces_of(settings, "orders-worker")
    projectors = Projectors(
        settings.database_url,
        PROJECTIONS,
        settings.redis_url,
        rebuild=settings.rebuild == "auto",
        metrics=metrics,
        traced=traces.projected if traces else None,
    )
    if traces:
        broker.add_middleware(_StopsTraces(traces.stop))
    set_up(broker, projectors, Runner(settings.database_url, PROJECTIONS))


class _StopsTraces(Middleware):
    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._stop()


def serve_metrics(host: str, port: int) -> ProjectorMetrics | None:
    """Serve the worker's metrics at /metrics of the port, from a thread. A port that is taken costs the metrics alone.

    A second worker on the same machine stands by, and needs a port of its own only to be measured.
    """
    registry = new_registry()
    metrics = ProjectorMetrics(registry)
    ProcessCollector(registry=registry)
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        log.warning("the worker runs without metrics: it cannot listen on %s:%d: %s", host, port, error.strerror)
        return None
    return metrics
