"""A time limit for work on a connection that may have a COMMIT under way."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator

from psycopg import AsyncConnection, Connection, OperationalError


@contextlib.contextmanager
def hung_up_after(seconds: float, connection: AsyncConnection) -> Iterator[None]:
    """Hang up when the block takes longer, so that what waits in it raises psycopg.OperationalError at once.

    asyncio.timeout would have psycopg cancel the statement, and then wait again for a server that may be frozen. And a
    COMMIT must never be cancelled: one that waits for its standby then reports success without it.
    """
    timer = asyncio.get_running_loop().call_later(seconds, hang_up, connection)
    try:
        yield
    finally:
        timer.cancel()


def hang_up(connection: AsyncConnection | Connection) -> None:
    """Shut the connection down. A thread or task that waits in it gets psycopg.OperationalError."""
    # The descriptor stays libpq's to close; a copy of it is enough to end the conversation.
    with contextlib.suppress(OSError, OperationalError), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)
