"""Whether commands fail; and after a failure, whether the log takes writes again."""

import asyncio
import logging

import psycopg
from psycopg import AsyncConnection

from command.writer import Writer
from database.deadline import hung_up_after
from eventlog import connecting, failures
from eventlog.rehearsal import rehearse

LOOK_EVERY_SECONDS = 5.0
LOOK_SECONDS_MAX = 2.0

# Sorts 8 MiB with less memory, so PostgreSQL needs room for a temporary file on the disk of the database.
_NEEDS_ROOM = (
    b"SET LOCAL work_mem = '64kB'; SELECT count(*) FROM (SELECT repeat(md5(n::text), 32) AS filling "
    b"FROM generate_series(1, 8192) AS n ORDER BY filling OFFSET 0) AS sorted"
)

log = logging.getLogger(__name__)


class Writes:
    """Ends the writer's trouble when a look shows that the log takes writes: a quiet shop has no command that would."""

    def __init__(self, database_url: str, writer: Writer) -> None:
        self._database_url = database_url
        self._writer = writer
        self._seen: str | None = None
        self._looked_at = 0.0

    async def trouble(self) -> str | None:
        """Why the last commands failed; None when the next ones may be expected to succeed."""
        trouble, now = self._writer.trouble, asyncio.get_running_loop().time()
        if trouble != self._seen:
            # It has the time of the failure. As long as commands come, they tell more than a look.
            self._seen, self._looked_at = trouble, now
        if trouble and now - self._looked_at >= LOOK_EVERY_SECONDS:
            self._looked_at = now
            if await self._takes_writes() and self._writer.trouble == trouble:
                self._writer.trouble = None
        return self._writer.trouble

    async def _takes_writes(self) -> bool:
        """True if a transaction gets the head, may write, and has room on the disk. It changes nothing."""
        connection: AsyncConnection | None = None
        try:
            connection = await connecting.connect(self._database_url, LOOK_SECONDS_MAX)
            with hung_up_after(LOOK_SECONDS_MAX, connection):
                await connection.execute(_NEEDS_ROOM, prepare=False)
                await rehearse(connection)
        except (psycopg.Error, OSError) as error:
            log.info("the log takes no writes yet: %s", failures.for_operators(error))
            return False
        finally:
            if connection is not None:
                await connection.close()  # ends the transaction
        return True
