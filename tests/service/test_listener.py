"""Connections that arrive at the same moment are accepted at the same moment."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable

import uvloop

from service.http.listener import ACCEPTS_A_TURN, BACKLOG, listen, often
from tests.served import NO_REDIS
from tests.system.stack import SURROUNDINGS, free_port

CLIENTS = 512


def turns_until_all_are_accepted(listeners: list[socket.socket]) -> int:
    """How many turns of the event loop it takes to accept CLIENTS connections that have all arrived already."""
    accepted: list[asyncio.Protocol] = []

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.append(self)
            transport.close()

    async def count() -> int:
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(Accepted, sock=it, backlog=BACKLOG) for it in listeners]
        turns = 0
        with contextlib.ExitStack() as closes:
            for _ in range(CLIENTS):
                client = closes.enter_context(socket.socket())
                client.connect(listeners[0].getsockname())
            while len(accepted) < CLIENTS:
                await asyncio.sleep(0)
                turns += 1
        for server in servers:
            server.close()
        return turns

    run: Callable[[Awaitable[int]], int] = uvloop.run
    return run(count())


def test_a_turn_of_the_loop_accepts_many_connections() -> None:
    assert turns_until_all_are_accepted(often(listen("127.0.0.1", 0))) <= 2 * CLIENTS / ACCEPTS_A_TURN


def test_a_low_limit_of_open_files_is_named_at_the_start(database_url: str) -> None:
    command = f"ulimit -n 300; exec {sys.executable} -P -m service.cli serve --port {free_port()}"
    more = {"DATABASE_URL": database_url, "REDIS_URL": NO_REDIS, "ALLOW_UNSAFE_DATABASE": "1"}
    with subprocess.Popen(
        ["bash", "-c", command], env=SURROUNDINGS | more, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = (line for line in process.stderr if "open files" in line or "startup complete" in line)
        warning = next(said, "")
        process.terminate()
    assert "the limit of 300 open files allows 200 connections, not 4000: raise it" in warning
