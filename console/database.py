"""The console's connections: few, read only, and each statement ends after two seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolTimeout

from database.sessions import READS, Limits, blocking_pool
from eventlog.failures import for_operators, is_outage

CONNECTIONS_MAX = 4
# A page that waits longer for a connection answers that the database does not answer.
CONNECTION_SECONDS_MAX = 2.0
STATEMENT_SECONDS_MAX = 2.0
LOCK_SECONDS_MAX = 1.0
IDLE_SECONDS_MAX = 5.0

Row = tuple[Any, ...]


class Unanswered(Exception):
    """The database gave no answer; the message is a sentence for the operator."""


class Database:
    """A pool of connections that only read. Open it with `with`."""

    def __init__(self, url: str) -> None:
        limits = Limits(statement=STATEMENT_SECONDS_MAX, lock=LOCK_SECONDS_MAX, idle_in_transaction=IDLE_SECONDS_MAX)
        self._pool = blocking_pool(
            url,
            "orders console",
            limits,
            READS | {"default_transaction_read_only": "on"},
            min_size=0,
            max_size=CONNECTIONS_MAX,
            timeout=CONNECTION_SECONDS_MAX,
            reconnect_timeout=CONNECTION_SECONDS_MAX,
            max_idle=60,
            num_workers=1,
            check=ConnectionPool.check_connection,
        )

    def __enter__(self) -> Self:
        self._pool.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close(timeout=1)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in autocommit. Raises Unanswered when it fails, or when a statement takes too long."""
        try:
            with self._pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise Unanswered("The database does not answer.") from error
        except psycopg.errors.QueryCanceled as error:
            raise Unanswered(f"The database needed more than {STATEMENT_SECONDS_MAX:g} s for this page.") from error
        except psycopg.errors.LockNotAvailable as error:
            raise Unanswered("Another session holds a lock on the tables that this page reads.") from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise Unanswered("The service's tables are missing: run `orders migrate`.") from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise Unanswered(f"The service's role lacks a grant: {error.diag.message_primary}.") from error
        except psycopg.Error as error:
            if not is_outage(error):
                raise
            reason = for_operators(error)
            raise Unanswered(f"{reason[:1].upper()}{reason[1:]}.") from error
