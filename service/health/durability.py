"""Whether a PostgreSQL server keeps what it has acknowledged: refused at the start when it is set up not to."""

import logging

import psycopg
from psycopg import Connection

from database.sessions import Limits, Unsuitable, connect
from service.errors import OperatorError
from service.settings import Settings

# If one of these settings is off, orders that the service has acknowledged may be lost when PostgreSQL crashes.
# `synchronous_commit` may differ by role, database and session, so ask on a session like those that write.
SWITCHED_OFF = b"""
SELECT name FROM unnest('{fsync, full_page_writes, synchronous_commit}'::text[]) AS name
WHERE current_setting(name) = 'off'
"""

STATEMENT_SECONDS_MAX = 5

log = logging.getLogger(__name__)


def switched_off(connection: Connection) -> list[str]:
    """The settings of durability that are off for this session. Raises psycopg.Error."""
    return [name for (name,) in connection.execute(SWITCHED_OFF).fetchall()]


def remedy(names: list[str]) -> str:
    return f"set {' and '.join(f'{name} = on' for name in names)} in PostgreSQL, or it loses orders when it crashes"


def refuse_unsafe(settings: Settings) -> None:
    """Raise OperatorError when the server of `database_url` may lose what it acknowledges and that was not allowed.

    Also when the database, or that of `query_database_url`, must not be used at all, which nothing allows: its encoding
    is not UTF8, say.

    A server that cannot be reached is left to the processes, which wait for it; `/readyz` asks the same again.
    """
    if settings.database_url is None:
        return
    try:
        with connect(settings.database_url, "orders start", Limits(statement=STATEMENT_SECONDS_MAX)) as connection:
            names = switched_off(connection)
    except Unsuitable as error:
        raise OperatorError(str(error)) from error
    except psycopg.OperationalError as error:
        log.warning("whether the database is durable is not known yet: %s", str(error).partition("\n")[0])
        return
    _refuse_unsuitable_reads(settings)
    if names and not settings.allow_unsafe_database:
        raise OperatorError(
            f"the database is not durable ({', '.join(names)} off): {remedy(names)}; "
            "ALLOW_UNSAFE_DATABASE=1 starts all the same, for tests and throw-away data"
        )


def _refuse_unsuitable_reads(settings: Settings) -> None:
    if settings.query_database_url in (None, settings.database_url):
        return
    try:
        connect(settings.query_database_url, "orders start", Limits(statement=STATEMENT_SECONDS_MAX)).close()
    except Unsuitable as error:
        raise OperatorError(f"QUERY_DATABASE_URL: {error}") from error
    except psycopg.OperationalError:
        pass  # /readyz says so; commands are taken
