"""Serves a contender as `orders serve` serves the real one: `python -m bench.serve crud`, on PORT of 127.0.0.1.

One uvicorn process with uvloop and httptools, no access log; and the garbage collector set as the real service sets
its own, so that no difference between contenders is the collector's.
"""

import os
import socket
import sys

import uvicorn

from service.garbage import collect_seldom
from service.http.listener import BACKLOG


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        collect_seldom()


def main() -> None:
    config = uvicorn.Config(
        f"bench.{sys.argv[1]}:app",
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
    )
    _Server(config).run()


if __name__ == "__main__":
    main()
