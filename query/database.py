"""The read side's connections, and the one way to run a select on them."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg_pool import PoolTimeout

from contract.problems import Problem
from database.deadline import hung_up_after
from database.remedies import in_one_line
from database.sessions import READS, ROW_IS_MISSING, Limits, pool, settle

# Joined look-ups need few connections: one flies while the others wait for it.
CONNECTIONS_MAX = 6
# A read that gets no connection by then is rejected with 503: the database is down or overloaded.
CONNECTION_SECONDS_MAX = 2.0
# A select takes milliseconds. A server that has not answered by then is frozen or cut off.
READ_SECONDS_MAX = 5.0
TABLES_ARE_MISSING = (
    "The service's tables are missing: run `orders migrate`, or `orders replay` for a read table, or correct "
    "QUERY_DATABASE_URL."
)
TABLES_ARE_OTHERS = (
    "The service's tables are not those of this release; the API's log lines name the difference. Run `orders replay` "
    "for a read table; restore the others from a backup."
)
NOT_READ = "The database cannot be read at the moment."
DAMAGED = "A page of the database is damaged; the API's log has PostgreSQL's words and the remedy."
NEEDED_GRANTS = "give it what docs/deploying.md lists under roles and grants"
# PostgreSQL's default of 4 is for spinning disks: it has the lines of an order fetched through a bitmap and sorted,
# where they could be read in order. A page of orders takes a third less with this.
SOLID_STATE = {"random_page_cost": "1.1"}
# A session that waits for a lock does not notice that its caller has hung up. It is gone so much later, instead of
# being left behind, one more with each attempt, until the server has no connections left.
LEFT_BEHIND_SECONDS_MAX = 1.0

# A column is missing, or has another type.
_OTHER_COLUMNS = (
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.DatatypeMismatch,
    psycopg.errors.WrongObjectType,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Statement:
    """A select, compiled to psycopg's text once.

    `prepared`: PostgreSQL plans it once for all values. False where the best plan depends on the values. `projection`:
    the one whose tables it reads; then no row at all means that the tables are of another version.
    """

    text: bytes
    prepared: bool = True
    projection: str | None = None


class _AsItIs(Loader):
    """Leaves JSON as the bytes that PostgreSQL sent: no code here reads them."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class _AsItIsBinary(_AsItIs):
    format = Format.BINARY


class Reads:
    """A small pool of connections that only read. Open it with `async with`."""

    def __init__(
        self,
        url: str,
        *,
        connections_max: int = CONNECTIONS_MAX,
        seconds_max: float = READ_SECONDS_MAX,
    ) -> None:
        self._seconds_max = seconds_max
        self._logged: str | None = None
        self._pool = pool(
            url,
            "orders reads",
            self._configure,
            min_size=1,
            max_size=connections_max,
            timeout=CONNECTION_SECONDS_MAX,
            # It tries at ever longer intervals, and from the start again after this: so a database is soon found back.
            reconnect_timeout=10,
        )

    async def __aenter__(self) -> Self:
        """Open the pool. It connects on its own: a database that is down now may be up at the first request."""
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        # Do not wait for connections to a server that does not answer.
        await self._pool.close(timeout=1)

    async def rows(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """The rows of a select.

        Raises Problem `unavailable` when the database does not answer or is not set up, and `projection-behind` when
        another release built the tables.
        """
        try:
            return await self._rows_after_restart(statement, parameters)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise Problem("unavailable", TABLES_ARE_MISSING) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise Problem("unavailable", f"The service's role lacks a grant: {NEEDED_GRANTS}.") from error
        except _OTHER_COLUMNS as error:
            self._log_once(f"the tables are not those of this release: {error.diag.message_primary}")
            if statement.projection is None:
                raise Problem("unavailable", TABLES_ARE_OTHERS) from error
            raise other_version(statement.projection) from error
        except (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted) as error:
            self._log_once(in_one_line(error))
            raise Problem("unavailable", DAMAGED) from error
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise Problem("unavailable", NOT_READ) from error

    def _log_once(self, message: str) -> None:
        """Log the message, unless it is the one that was logged last: each read may fail with it."""
        if message != self._logged:
            self._logged = message
            log.warning("%s", message)

    async def row(self, statement: Statement, parameters: Mapping[str, object]) -> tuple[Any, ...]:
        """The one row of a select from log.head or a checkpoint. Raises the same, and `unavailable` without it."""
        for row in await self.rows(statement, parameters):
            return row
        raise Problem("unavailable", f"{ROW_IS_MISSING}.")

    async def _rows_after_restart(
        self, statement: Statement, parameters: Mapping[str, object]
    ) -> Sequence[tuple[Any, ...]]:
        try:
            rows = await self._rows(statement, parameters)
        except PoolTimeout:
            # It is an OperationalError, but a retry would wait as long again.
            raise
        except psycopg.OperationalError:
            # After a restart of the server every idle connection is dead: throw those out, and try once more.
            await self._pool.check()
            rows = await self._rows(statement, parameters)
        if not rows and statement.projection is not None:
            raise other_version(statement.projection)
        return rows

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        connection.adapters.register_loader("json", _AsItIs)
        connection.adapters.register_loader("json", _AsItIsBinary)
        await settle(connection, Limits(statement=self._seconds_max + LEFT_BEHIND_SECONDS_MAX), **READS, **SOLID_STATE)

    async def _rows(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        connection = await self._pool.getconn()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds_max
        try:
            with hung_up_after(self._seconds_max, connection):
                cursor = await connection.execute(
                    statement.text, parameters, prepare=None if statement.prepared else False, binary=True
                )
                return await cursor.fetchall()
        except psycopg.OperationalError as error:
            if loop.time() >= until:
                # It would take as long again.
                raise Problem("unavailable", "The database did not answer in time.") from error
            raise
        finally:
            await self._pool.putconn(connection)


def other_version(projection: str) -> Problem:
    """Why tables of another version are not read."""
    return Problem(
        "projection-behind",
        f"The tables of {projection} are not those of this release: GET /projections shows how far a rebuild is. "
        "If there is none, run `orders replay`.",
        headers={"Retry-After": "5"},
    )
