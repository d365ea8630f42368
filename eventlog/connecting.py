"""Connections for appending to the log."""

import asyncio
import logging
import select

from psycopg import AsyncConnection

from database.deadline import hung_up_after
from database.sessions import Limits, connect_async
from eventlog import stalled

# A session that waits for a lock does not notice that its client has hung up. Without these limits each attempt would
# leave a session behind while another one holds the head. Neither limit ends a COMMIT.
LOCK_SECONDS_MAX, TRANSACTION_SECONDS_MAX = 8, 15
LIMITS = Limits(lock=LOCK_SECONDS_MAX, transaction=TRANSACTION_SECONDS_MAX, idle_in_transaction=stalled.SECONDS_MAX)

log = logging.getLogger(__name__)


async def connect(database_url: str, seconds_max: float = 10) -> AsyncConnection:
    """A connection for appending. It commits by the COMMIT in `append` and by nothing else.

    Raises psycopg.OperationalError, or TimeoutError after `seconds_max`.
    """
    until = asyncio.get_running_loop().time() + seconds_max
    connection = await connect_async(database_url, "orders writer", LIMITS, seconds_max=seconds_max)
    try:
        connection.prepare_threshold = 0
        with hung_up_after(until - asyncio.get_running_loop().time(), connection):
            # A writer that timed out while it waited for the head hangs up and reconnects, and so comes here.
            if (await connection.execute(stalled.END, ("log.head",))).rowcount:
                log.warning("a writer that had stopped in the middle of a statement was ended")
    except BaseException:
        await connection.close()
        raise
    return connection


def has_hung_up(connection: AsyncConnection) -> bool:
    """Whether the server has closed this idle connection: bytes that no statement asked for are readable."""
    if connection.broken:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
