"""One connection for a command that asks about the past, in place of the API's pool."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import set_json_loads

from database.sessions import READS, Limits, connect_async
from query.database import Statement, other_version

CONNECT_SECONDS_MAX = 10
STATEMENT_SECONDS_MAX = 30
LOCK_SECONDS_MAX = 5


class Connected:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """The rows. JSON is bytes. Raises psycopg.Error, and Problem when another release built the tables."""
        cursor = await self._connection.execute(statement.text, parameters, binary=True)
        rows = await cursor.fetchall()
        if not rows and statement.projection is not None:
            raise other_version(statement.projection)
        return rows


@asynccontextmanager
async def connected(url: str, name: str) -> AsyncIterator[Connected]:
    """A connection whose session is called `name`. Raises psycopg.OperationalError, or TimeoutError."""
    limits = Limits(statement=STATEMENT_SECONDS_MAX, lock=LOCK_SECONDS_MAX)
    connection = await connect_async(url, name, limits, seconds_max=CONNECT_SECONDS_MAX, **READS)
    async with connection:
        set_json_loads(_as_it_is, connection)
        yield Connected(connection)


def _as_it_is(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
