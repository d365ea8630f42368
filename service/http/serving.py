"""The API in uvicorn: one process or several on one port, and an end to every connection at shutdown."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from service import logs
from service.errors import OperatorError
from service.http.connection import Connection
from service.http.listener import BACKLOG, listen, often
from service.lifeline import die_with_parent
from service.settings import Settings
from service.shown_settings import handed_on

SHUTDOWN_SECONDS = 8  # for requests in flight, which are answered before; then they are cancelled

# On every answer, also on those that no route makes.
HEADERS = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]

# Set by us for the processes that uvicorn starts: the directory in which they share their metrics. None outlives it.
_PART_OF_SEVERAL = "ORDERS_SERVE_PART_OF_SEVERAL"


def serve(settings: Settings, host: str, processes: int = 1) -> None:
    """Serve until SIGTERM or SIGINT. Raises OperatorError when the address cannot be had."""
    os.environ |= handed_on(settings)
    config = uvicorn.Config(
        "service.http.serving:app",
        factory=True,
        host=host,
        port=settings.port,
        workers=processes,
        loop="uvloop",
        http=Connection,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # access/guard.py reads X-Forwarded-For itself, if BEHIND_PROXY is set
        server_header=False,
        headers=HEADERS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        backlog=BACKLOG,
    )
    server = uvicorn.Server(config)
    with contextlib.ExitStack() as closes:
        listeners = [closes.enter_context(it) for it in often(listen(host, settings.port))]
        if processes > 1:
            os.environ[_PART_OF_SEVERAL] = closes.enter_context(_figures_directory())
            Multiprocess(config, sockets=listeners).run()
            return
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=listeners)
    if not server.started:
        sys.exit(1)


def app() -> FastAPI:
    """Build the application from the environment; uvicorn calls it in every process."""
    from service.app import create_app

    figures = os.environ.get(_PART_OF_SEVERAL)
    if figures:
        die_with_parent()
    settings = Settings.load()
    logs.configure(settings.log_format, settings.log_level)
    return create_app(settings, Path(figures) if figures else None)


def _figures_directory() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="orders-metrics-")
    except OSError as error:
        raise OperatorError(f"several processes need a temporary directory for their metrics: {error}") from None
