"""Connections that arrive at the same moment are accepted at the same moment."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import uvloop

from service.http.listener import ACCEPTS_A_TURN, BACKLOG, listen, often

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
