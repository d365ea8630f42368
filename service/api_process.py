"""The parts of one API process: connections, the writer, health and metrics. They start and stop together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client import ProcessCollector
from prometheus_client.core import Metric

from command.api import Commands
from command.metrics import CommandMetrics, WriterMetrics
from command.writer import Writer
from projector.bell import Bell
from query.database import Reads
from query.waiting import WaitingReads
from service.access import Access
from service.errors import MISUSE, OperatorError
from service.garbage import collect_seldom
from service.health.readiness import Health
from service.http.connections import Connections
from service.http.console import console_of
from service.http.metrics import Counted, HttpMetrics, new_registry
from service.http.request_log import RequestLog
from service.http.sharing import SharedFigures
from service.http.stopping import Stopping
from service.settings import Settings
from service.tracing import traces_of


class ApiProcess:
    """The parts behind the routes. The constructor connects to nothing; `running` does."""

    def __init__(self, settings: Settings, figures: Path | None = None) -> None:
        """Raise OperatorError when the settings lack a URL.

        `figures` is the directory in which several processes behind one port share their metrics.
        """
        if settings.database_url is None or settings.redis_url is None:
            raise OperatorError("DATABASE_URL and REDIS_URL must be set", exit_code=MISUSE)
        self.database_url = settings.database_url
        self.prefix = settings.root_path or ""
        self._registry = new_registry()
        self.traces = traces_of(settings, "orders-api")
        self._bell = Bell(settings.redis_url)
        self._writer = Writer(self.database_url, self._bell.ring, metrics=WriterMetrics(self._registry))
        self.reads = Reads(settings.query_database_url or self.database_url)
        self.waiting = WaitingReads(self._registry)
        self.access = Access(settings)
        self.health = Health(settings, self._bell, self._writer, self.access)
        self.stopping = Stopping(settings.shutdown_delay)
        self.console = console_of(settings, self.health, self.reads, self.access.guard) if settings.console else None
        self._connections = Connections(
            lambda: self._writer.waiting + self.waiting.count,
            self._writer.is_full,
            self._writer.take_no_more,
            prefix=self.prefix,
        )
        self.http_metrics, self.request_log = HttpMetrics(self._registry), RequestLog(settings.log_format)
        self.commands = Commands(self._writer, CommandMetrics(self._registry))
        self._registry.register(Counted(self._writer, self._bell, self._connections))
        if not figures:
            ProcessCollector(registry=self._registry)  # several processes would be added up
        self._shared = SharedFigures(figures, self._own_figures) if figures else None

    def figures(self) -> list[Metric]:
        """The metrics of this process, or of all processes behind the port."""
        return self._shared.total() if self._shared else self._own_figures()

    def _own_figures(self) -> list[Metric]:
        return list(self._registry.collect())

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[dict[str, Any]]:
        """Connect, and yield the state that the HTTP server hands to its connections. This is the lifespan of ASGI."""
        async with AsyncExitStack() as stack:
            stack.enter_context(self.request_log.running())
            if self.traces:
                stack.push_async_callback(asyncio.to_thread, self.traces.stop)
            self._bell.start()
            stack.callback(self._bell.stop)
            await self._writer.start()
            stack.push_async_callback(self._writer.stop)
            for reads in (self.reads, *self.health.connections):
                await stack.enter_async_context(reads)
            await stack.enter_async_context(self.access.kept_current())
            await stack.enter_async_context(self._connections)
            if self.console:
                stack.enter_context(self.console.database)
            if self._shared:
                await stack.enter_async_context(self._shared.published())
            self.stopping.listen()
            collect_seldom()
            yield {"connections": self._connections}
