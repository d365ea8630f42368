"""Those who knock at once are let in at once."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import uvloop

from service.http.listener import ACCEPTS_A_TURN, BACKLOG, listen, often

KNOCKING = 512


def turns_until_all_are_in(listeners: list[socket.socket]) -> int:
    """How often others get their turn while KNOCKING connections are accepted that are all there at the beginning."""
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
            for _ in range(KNOCKING):
                client = closes.enter_context(socket.socket())
                client.connect(listeners[0].getsockname())
            while len(accepted) < KNOCKING:
                await asyncio.sleep(0)
                turns += 1
        for server in servers:
            server.close()
        return turns

    run: Callable[[Awaitable[int]], int] = uvloop.run
    return run(count())


def test_a_turn_of_the_loop_accepts_many_connections() -> None:
    assert turns_until_all_are_in(often(listen("127.0.0.1", 0))) <= 2 * KNOCKING / ACCEPTS_A_TURN
