"""Serves the application behind one of several HTTP servers: `python -m bench.serve_behind h11`, on PORT of 127.0.0.1.

`python -m bench.serve_behind h11 refusing` rejects all requests but health checks, as an overloaded process does.
"""

import asyncio
import os
import signal
import sys

import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from contract.headers import request_id
from service.app import create_app
from service.http import connections
from service.http.connection import Connection
from service.http.listener import BACKLOG
from service.settings import Settings

HOST = "127.0.0.1"
# Ours rejects requests in its protocol, the others in a middleware.
OURS = "ours"
SERVERS = (OURS, "httptools", "h11", "granian")


class Rejecting:
    """The application behind a middleware that rejects requests when too many are under way."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        shared = scope["state"]["connections"]
        no_room = shared.no_room(self._under_way, scope["method"].encode(), scope["raw_path"])
        if no_room:
            await no_room.problem.response(request_id(scope["headers"]))(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1


def main() -> None:
    server, port = sys.argv[1], int(os.environ["PORT"])
    if "refusing" in sys.argv[2:]:
        connections.REQUESTS_MAX = -1
    app = create_app(Settings.load())
    if server == "granian":
        uvloop.run(_granian(Rejecting(app), port))
        return
    uvicorn.run(
        app if server == OURS else Rejecting(app),
        host=HOST,
        port=port,
        loop="uvloop",
        http=Connection if server == OURS else server,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
    )


async def _granian(app: ASGIApp, port: int) -> None:
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    server = Server(
        app,
        HOST,
        port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=connections.CONNECTIONS_MAX,
        log_enabled=False,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()


if __name__ == "__main__":
    main()
