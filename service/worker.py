"""The worker process: `dramatiq service.worker:setup`, which `orders work` runs."""

import gc
import logging

import dramatiq
from prometheus_client import ProcessCollector, start_http_server

from projector import bell
from projector.metrics import ProjectorMetrics
from projector.worker import Projectors, set_up
from service import logs
from service.errors import OperatorError
from service.http.metrics import new_registry
from service.lifeline import die_with_parent
from service.projections import PROJECTIONS
from service.settings import Settings

GC_THRESHOLD = 100_000

log = logging.getLogger(__name__)


def setup() -> None:
    """Give Dramatiq a broker whose workers project; it calls this in every process that it starts."""
    settings = Settings.load()
    logs.configure(settings.log_format, settings.log_level)
    if settings.database_url is None or settings.redis_url is None:
        raise OperatorError("DATABASE_URL and REDIS_URL must be set: `orders work` does that", exit_code=2)
    die_with_parent()
    # A page of events is many objects and no cycles: the collector would look through all of them for nothing.
    gc.set_threshold(GC_THRESHOLD)
    metrics = serve_metrics(settings.metrics_host, settings.metrics_port) if settings.metrics_port else None
    broker = bell.broker(settings.redis_url)
    dramatiq.set_broker(broker)
    rebuild = settings.rebuild == "auto"
    set_up(broker, Projectors(settings.database_url, PROJECTIONS, settings.redis_url, rebuild=rebuild, metrics=metrics))


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
