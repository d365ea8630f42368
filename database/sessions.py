"""The only place that connects to PostgreSQL: every session has the settings that the code depends on.

A session inherits settings from the server, the database, the role, the URL and the environment. Some of them change
what is stored (client_encoding), what a value looks like (DateStyle), or whether a warning arrives at all
(client_min_messages). So each session sets them itself, in one round trip after it has connected. SET works everywhere;
a pooler such as PgBouncer refuses most of them as startup parameters. It must be in session mode, which is checked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from psycopg import AsyncConnection, Connection, OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from database.deadline import hung_up_after
from database.poolers import PROCESS, parameters_of, processes_of_another

# If the URL names several hosts, libpq tries each of them for so long.
CONNECT_SECONDS_MAX = 5
HOST_SECONDS_MAX = 2  # for the API's writer, which has to answer a client in time
SERVER_VERSION_MIN = 18
# Right from the first statement on: every server and pooler takes this startup parameter. It is set again with the
# others, because an event trigger on login may have changed it.
ENCODING = "UTF8"

ROW_IS_MISSING = (
    "log.head or a checkpoint has lost its row: run `orders replay`; if that says the same, the log's head is lost: "
    "restore the database from a backup, whole"
)

HIDDEN = (
    "row security may hide rows of {} from this role, and read tables made without them would be wrong: "
    "ALTER ROLE ... BYPASSRLS, or ALTER TABLE ... DISABLE ROW LEVEL SECURITY"
)

# Not here, because the operator decides: synchronous_commit (service/starting.py refuses `off`),
# default_transaction_read_only (a way to freeze a database), role, tablespaces, memory, the planner's methods, logging.
_SETTINGS = {
    # The formats of values in both directions.
    "array_nulls": "on",
    "bytea_output": "hex",
    "client_encoding": ENCODING,
    "datestyle": "ISO, YMD",
    "extra_float_digits": "1",
    "intervalstyle": "postgres",
    "quote_all_identifiers": "off",
    "timezone": "UTC",
    # How statements are read. Triggers and event triggers that an operator added find what is in public.
    "backslash_quote": "safe_encoding",
    "search_path": "pg_catalog, public, pg_temp",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    # How transactions behave.
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": "read committed",
    "exit_on_error": "off",
    "idle_session_timeout": "0",
    "plan_cache_mode": "auto",
    "row_security": "on",
    # A COMMIT whose wait for its standby was cancelled is reported by a warning alone.
    "client_min_messages": "notice",
}

# For sessions that fire no trigger. A function or an operator in public whose argument types fit a call exactly wins
# over PostgreSQL's own that takes any type, wherever public stands in the path. The statements of all other sessions
# therefore use types that PostgreSQL's own fit exactly (tests/system/overloads.py).
READS = MappingProxyType({"search_path": "pg_catalog, pg_temp"})

# A pooler without a server_reset_query hands on the statements and locks of the last client.
_LOOK = (
    "DEALLOCATE ALL; SELECT current_setting('server_encoding'), current_setting('server_version_num')::int / 10000, "
    "current_setting('server_version'), current_setting('session_replication_role'), "
    "(SELECT min(pg_class.oid::regclass::text) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE nspname = 'log' AND relrowsecurity AND row_security_active(pg_class.oid) "
    "AND EXISTS (SELECT FROM pg_class AS head WHERE head.relnamespace = pg_namespace.oid AND head.relname = 'head')), "
    "pg_backend_pid() FROM pg_advisory_unlock_all()"
)


class Unsuitable(OperationalError):
    """The server answers, but the service must not work on this database; the message says what to do."""


def only_row(row: Sequence[Any] | None) -> Sequence[Any]:
    """The one row of log.head or of a checkpoint, which a migration or a replay made. Raises Unsuitable without it."""
    if row is None:
        raise Unsuitable(ROW_IS_MISSING)
    return row


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds after which PostgreSQL ends a statement, a wait for a lock, a transaction, an idle one.

    None: never, whatever the server, the database or the role says.
    """

    statement: float | None = None
    lock: float | None = None
    transaction: float | None = None
    idle_in_transaction: float | None = None

    def settings(self) -> dict[str, str]:
        limits = {
            "transaction_timeout": self.transaction,
            "statement_timeout": self.statement,
            "lock_timeout": self.lock,
            "idle_in_transaction_session_timeout": self.idle_in_transaction,
        }
        return {name: str(round(1_000 * seconds)) if seconds else "0" for name, seconds in limits.items()}


NO_LIMITS = Limits()
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


def connect(
    url: str,
    name: str,
    limits: Limits = NO_LIMITS,
    *,
    autocommit: bool = True,
    connection_class: type[Connection] = Connection,
    settings: Mapping[str, str] = NO_SETTINGS,
    **parameters: str | int | None,
) -> Connection:
    """A connection whose session is called `name`, with more `settings`; `parameters` are libpq's and psycopg's.

    Raises psycopg.OperationalError; as Unsuitable when the database must not be used.
    """
    given: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS_MAX, **parameters, "client_encoding": ENCODING}
    connection = connection_class.connect(url, autocommit=True, application_name=name, **given)
    try:
        _settle(connection, limits, settings)
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


async def connect_async(
    url: str, name: str, limits: Limits = NO_LIMITS, *, seconds_max: float, **settings: str
) -> AsyncConnection:
    """A connection in autocommit. Of several hosts one that does not answer leaves time for the next.

    Raises psycopg.OperationalError, as Unsuitable when the database must not be used, or TimeoutError.
    """
    host_seconds = int(conninfo_to_dict(url).get("connect_timeout") or HOST_SECONDS_MAX)
    until = asyncio.get_running_loop().time() + seconds_max
    async with asyncio.timeout_at(until):
        connection = await AsyncConnection.connect(
            url, autocommit=True, application_name=name, connect_timeout=host_seconds, client_encoding=ENCODING
        )
    try:
        with hung_up_after(until - asyncio.get_running_loop().time(), connection):
            await settle(connection, limits, **settings)
    except BaseException:
        await connection.close()
        raise
    return connection


def pool(
    url: str, name: str, configure: Callable[[AsyncConnection], Awaitable[None]], **options: Any
) -> AsyncConnectionPool:
    """A pool of connections in autocommit, not open yet; `configure` is called with each, and must call `settle`."""
    given = {"autocommit": True, "application_name": name, "client_encoding": ENCODING}
    return AsyncConnectionPool(url, name=name, kwargs=given, configure=configure, open=False, **options)


def blocking_pool(url: str, name: str, limits: Limits, settings: Mapping[str, str], **options: Any) -> ConnectionPool:
    """A pool of connections for threads, in autocommit, not open yet. `settings` are more settings of each session."""
    given = {"autocommit": True, "application_name": name, "client_encoding": ENCODING}
    return ConnectionPool(
        url, name=name, kwargs=given, configure=lambda it: _settle(it, limits, settings), open=False, **options
    )


async def settle(connection: AsyncConnection, limits: Limits, **settings: str) -> None:
    """Give the session its settings, in one round trip. Raises psycopg.OperationalError."""
    cursor = await connection.execute(_statements(connection, limits, settings), prepare=False)
    while cursor.nextset():
        pass
    *found, process = (await cursor.fetchall())[0]
    _refuse_unsuitable(*found)
    if process != connection.info.backend_pid:  # a pooler makes up the one that it tells
        others = await asyncio.to_thread(processes_of_another, connection.info)
        ((now,),) = await (await connection.execute(PROCESS, prepare=False)).fetchall()
        _refuse_changing(process, now, others)


def _settle(connection: Connection, limits: Limits, settings: Mapping[str, str]) -> None:
    cursor = connection.execute(_statements(connection, limits, settings), prepare=False)
    while cursor.nextset():
        pass
    *found, process = cursor.fetchall()[0]
    _refuse_unsuitable(*found)
    if process != connection.info.backend_pid:
        others = processes_of_another(connection.info)
        ((now,),) = connection.execute(PROCESS, prepare=False).fetchall()
        _refuse_changing(process, now, others)


def _statements(connection: Connection | AsyncConnection, limits: Limits, settings: Mapping[str, str]) -> bytes:
    # A pooler may have added the client's address, and sessions of one name would no longer know each other.
    name = parameters_of(connection.info)["application_name"]
    # The time-outs come first: the server's own may be shorter than the rest takes.
    wanted = limits.settings() | _SETTINGS | {"application_name": name} | dict(settings)
    return "; ".join([*(_set(name, value) for name, value in wanted.items()), _LOOK]).encode()


def _set(name: str, value: str) -> str:
    # A list: every name in it is quoted on its own.
    return f"SET {name} = " + ", ".join(f"'{part.strip()}'" for part in value.split(","))


def _refuse_unsuitable(encoding: str, major: int, version: str, replication_role: str, hidden: str | None) -> None:
    if major < SERVER_VERSION_MIN:
        raise Unsuitable(f"the server is PostgreSQL {version}: orders needs PostgreSQL {SERVER_VERSION_MIN} or newer")
    if encoding != ENCODING:
        raise Unsuitable(
            f"the database's encoding is {encoding}: make another one with ENCODING 'UTF8' TEMPLATE template0, "
            "and set DATABASE_URL to it"
        )
    if replication_role != "origin":
        raise Unsuitable(
            f"session_replication_role is {replication_role} for this database or role, which switches triggers and "
            "foreign keys off: reset it with ALTER DATABASE or ALTER ROLE ... RESET session_replication_role"
        )
    if hidden:
        raise Unsuitable(HIDDEN.format(hidden))


def _refuse_changing(process: int, now: int, others: set[int]) -> None:
    """Raise Unsuitable if this session's process has changed, or another session has been given the same."""
    if now != process or process in others or len(others) > 1:
        raise Unsuitable(
            "a pooler gives this session another connection to PostgreSQL for each transaction: "
            "use a pooler in session mode (PgBouncer: pool_mode = session), or connect to PostgreSQL directly"
        )
