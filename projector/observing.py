"""Observing batches: metrics, traces and log lines about a batch after its commit."""

import contextlib
import logging
from collections.abc import Callable

import psycopg
from psycopg import Connection

from eventlog import causes, read
from projector.loop import Progress
from projector.metrics import ProjectorMetrics

# At the level `debug` each event of a batch has a line, but no more than these.
DEBUG_LINES_MAX = 1_000

log = logging.getLogger(__name__)

# Called after a batch, with the connection and the name of the projection.
Traced = Callable[[Connection, str, Progress], None]


class Observer:
    """Reports the batches of one projection. It ignores a database that cannot be reached after the commit."""

    def __init__(self, projection: str, metrics: ProjectorMetrics | None, traced: Traced | None) -> None:
        self._projection, self._metrics, self._traced = projection, metrics, traced
        if metrics is not None:
            metrics.make_labels(projection)

    def committed(self, connect: Callable[[], Connection], progress: Progress) -> None:
        """Report a committed batch. `connect` returns a connection to the log."""
        if progress.events:
            with contextlib.suppress(psycopg.Error):  # the next batch meets the trouble
                self._observe(connect(), progress)
        log_parked(connect, self._projection, progress)

    def failed(self, error: Exception) -> None:
        if self._metrics is not None:
            kind = "database" if isinstance(error, psycopg.Error) else "fault"
            self._metrics.errors.labels(self._projection, kind).inc()

    def _observe(self, connection: Connection, progress: Progress) -> None:
        first = progress.position - progress.events
        if self._metrics is not None:
            self._metrics.projected(self._projection, progress, read.age(connection, first + 1))
        if self._traced is not None:
            self._traced(connection, self._projection, progress)
        if log.isEnabledFor(logging.DEBUG):
            for it in causes.of(connection, first, progress.position, DEBUG_LINES_MAX):
                log.debug("%s: event %d is projected [%s]", self._projection, it.position, it.request_id)


def log_parked(connect: Callable[[], Connection], projection: str, progress: Progress) -> None:
    """Log the streams that a batch has parked, each with the request that appended the event."""
    for it in progress.parked:
        request_id = None
        with contextlib.suppress(psycopg.Error):
            request_id = causes.of(connect(), it.position - 1, it.position, 1)[0].request_id
        where = f"{projection}: {it.stream} is parked at event {it.position} ({it.type})"
        log.error("%s: %s%s", where, it.error, f" [{request_id}]" if request_id else "")
