"""The API in uvicorn: one process or several on one port, and an end to every connection at shutdown."""

import contextlib
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from service import logs
from service.http.connection import Connection
from service.http.listener import BACKLOG, listen, often
from service.lifeline import die_with_parent
from service.settings import Settings

SHUTDOWN_SECONDS = 8  # for requests in flight, which are answered before; then they are cancelled

# On every answer, also on those that no route makes.
HEADERS = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]


def serve(settings: Settings, host: str, processes: int = 1) -> None:
    """Serve until SIGTERM or SIGINT. Raises OperatorError when the address cannot be had."""
    with contextlib.ExitStack() as closes:
        listeners = [closes.enter_context(it) for it in often(listen(host, settings.port))]
        figures = None
        if processes > 1:
            figures = Path(closes.enter_context(tempfile.TemporaryDirectory(prefix="orders-metrics-")))
        config = uvicorn_config(partial(app, settings, figures), settings, factory=True, workers=processes)
        if processes > 1:
            _block_ctrl_c()
            Multiprocess(config, sockets=listeners).run()
            return
        server = uvicorn.Server(config)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=listeners)
    if not server.started:
        sys.exit(1)


def uvicorn_config(application: FastAPI | Callable[[], FastAPI], settings: Settings, **more: Any) -> uvicorn.Config:
    """How uvicorn serves the API, in production and in tests. `more` are further arguments of uvicorn.Config."""
    return uvicorn.Config(
        application,
        loop="uvloop",
        http=Connection,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # access/guard.py reads X-Forwarded-For itself, if BEHIND_PROXY is set
        server_header=False,
        headers=HEADERS,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        backlog=BACKLOG,
        **more,
    )


def app(settings: Settings, figures: Path | None) -> FastAPI:
    """Build the application; uvicorn calls it in every process. `figures` is the directory that several share."""
    from service.app import create_app  # the parent of several processes needs no application

    if figures:
        die_with_parent()
    logs.configure(settings.log_format, settings.log_level)
    return create_app(settings, figures)


def _block_ctrl_c() -> None:
    """Block Ctrl-C in this thread, whose processes inherit that: the parent stops them.

    The parent still gets it, because Python passes on what another thread of the process receives.
    """
    resource_tracker.ensure_running()  # it unblocks Ctrl-C when it starts, which the first process causes
    threading.Thread(target=threading.Event().wait, daemon=True).start()  # it receives Ctrl-C
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
