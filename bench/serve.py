"""Serves a contender as `orders serve` serves the real one: `python -m bench.serve crud`, on PORT of 127.0.0.1.

One uvicorn process with uvloop and httptools, and no access log.
"""

import os
import sys

import uvicorn

from service.http.listener import BACKLOG


def main() -> None:
    uvicorn.run(
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


if __name__ == "__main__":
    main()
