"""Sessions have the same settings, whatever the database, the role or the environment says."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection, sql

from database.sessions import Limits, Unsuitable, connect, connect_async, pool, settle
from tests.conftest import Servers, url_of

# Values that a server, a database or a role may well have, and that nothing of ours may depend on.
FOREIGN = {
    "array_nulls": "off",
    "backslash_quote": "on",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "client_min_messages": "error",
    "datestyle": "SQL, DMY",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "exit_on_error": "on",
    "extra_float_digits": "-15",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1s",
    "intervalstyle": "sql_standard",
    "lock_timeout": "1ms",
    "plan_cache_mode": "force_generic_plan",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "search_path": "nowhere",
    "standard_conforming_strings": "off",
    "statement_timeout": "20ms",
    "timezone": "Australia/Eucla",
    "transaction_timeout": "20ms",
    "transform_null_equals": "on",
}
ENVIRONMENT = {
    "HOME": "~",  # so Python finds no home directory, as for a user id that no user has
    "PGCLIENTENCODING": "LATIN1",
    "PGDATESTYLE": "German",
    "PGTZ": "Asia/Kathmandu",
    "PGOPTIONS": "-c standard_conforming_strings=off -c client_min_messages=error -c statement_timeout=20ms",
}
LIMITS = Limits(statement=7, lock=6)
SECONDS_MAX = 10


def shown(rows: list[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in rows if name.lower() in FOREIGN}


def by_connect(url: str) -> dict[str, str]:
    with connect(url, "test", LIMITS) as connection:
        return shown([row[:2] for row in connection.execute("SHOW ALL").fetchall()])


async def shown_by(connection: AsyncConnection) -> dict[str, str]:
    return shown([row[:2] for row in await (await connection.execute("SHOW ALL")).fetchall()])


def by_connect_async(url: str) -> dict[str, str]:
    async def show() -> dict[str, str]:
        async with await connect_async(url, "test", LIMITS, seconds_max=SECONDS_MAX) as connection:
            return await shown_by(connection)

    return asyncio.run(show())


def by_pool(url: str) -> dict[str, str]:
    async def configure(connection: AsyncConnection) -> None:
        await settle(connection, LIMITS)

    async def show() -> dict[str, str]:
        async with (
            pool(url, "test", configure, min_size=1, timeout=SECONDS_MAX) as connections,
            connections.connection() as connection,
        ):
            return await shown_by(connection)

    return asyncio.run(show())


FLAVOURS = [by_connect, by_connect_async, by_pool]


@pytest.fixture(scope="module")
def expected(module_database_url: str) -> dict[str, str]:
    return by_connect(module_database_url)


@pytest.fixture
def set_on_the_database(module_database_url: str, servers: Servers) -> Iterator[Callable[[str, str], None]]:
    name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(module_database_url)["dbname"]))
    with psycopg.connect(servers.postgres_url, autocommit=True) as admin:

        def alter(setting: str, value: str) -> None:
            given = sql.SQL(", ").join(sql.Literal(part.strip()) for part in value.split(","))
            admin.execute(sql.SQL("ALTER DATABASE {} SET {} = {}").format(name, sql.Identifier(setting), given))

        yield alter
        admin.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))


@pytest.mark.parametrize("setting", FOREIGN)
def test_settings_of_the_database_make_no_difference(
    setting: str,
    module_database_url: str,
    expected: dict[str, str],
    set_on_the_database: Callable[[str, str], None],
) -> None:
    set_on_the_database(setting, FOREIGN[setting])
    assert by_connect(module_database_url) == expected


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.__name__)
def test_every_way_to_connect_has_the_same_settings(
    flavour: Callable[[str], dict[str, str]],
    module_database_url: str,
    expected: dict[str, str],
    set_on_the_database: Callable[[str, str], None],
) -> None:
    for setting, value in FOREIGN.items():
        set_on_the_database(setting, value)
    assert expected.keys() == FOREIGN.keys()
    assert flavour(module_database_url) == expected


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_settings_of_the_environment_make_no_difference(
    variable: str, module_database_url: str, expected: dict[str, str]
) -> None:
    code = "import json, sys; from tests.database.test_sessions import by_connect; print(by_connect(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, module_database_url],
        env={"PATH": os.defpath, variable: ENVIRONMENT[variable]},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(expected), done.stderr


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_utf8_is_refused(encoding: str, servers: Servers) -> None:
    name = f"{servers.template}_{encoding.lower()}_{os.getpid()}"
    with psycopg.connect(servers.postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'".encode())
        try:
            url = url_of(servers.postgres_url, name)
            with pytest.raises(Unsuitable, match=f"encoding is {encoding}: make another one with ENCODING 'UTF8'"):
                connect(url, "test")
            with pytest.raises(Unsuitable, match=encoding):
                asyncio.run(connect_async(url, "test", seconds_max=SECONDS_MAX))
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_session_without_triggers_is_refused(
    module_database_url: str, set_on_the_database: Callable[[str, str], None]
) -> None:
    set_on_the_database("session_replication_role", "replica")
    with pytest.raises(Unsuitable, match="RESET session_replication_role"):
        connect(module_database_url, "test")


def test_connecting_takes_one_statement_more(module_database_url: str) -> None:
    """All settings and checks are one round trip."""
    with connect(module_database_url, "test") as connection:
        query = "SELECT query FROM pg_stat_activity WHERE pid = %s"
        with psycopg.connect(module_database_url) as onlooker:
            ((last,),) = onlooker.execute(query, [connection.info.backend_pid]).fetchall()
    assert last.startswith("SET transaction_timeout")
    assert "session_replication_role" in last


@pytest.mark.parametrize("forced", [False, True], ids=["for other roles", "for the owner too"])
def test_row_security_that_may_hide_a_part_of_the_log_is_refused(database_url: str, forced: bool) -> None:
    connection = psycopg.connect(database_url, autocommit=True)
    role = f"part_{connection.info.dbname}"
    connection.execute(
        f"""CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA log TO {role}; GRANT SELECT ON log.events TO {role};
        ALTER TABLE log.events ENABLE ROW LEVEL SECURITY;
        CREATE POLICY partly ON log.events USING (type <> 'UserRegistered')""".encode()
    )
    if forced:
        connection.execute(f"ALTER TABLE log.events OWNER TO {role}, FORCE ROW LEVEL SECURITY".encode())
    url = database_url.replace("orders@", f"{role}@", 1)
    try:
        with pytest.raises(Unsuitable, match=r"row security may hide rows of log\.events from this role"):
            connect(url, "test")
        connect(database_url, "test").close()  # a superuser sees all
        connection.execute(f"ALTER ROLE {role} BYPASSRLS".encode())
        connect(url, "test").close()
    finally:
        connection.execute("ALTER TABLE log.events OWNER TO CURRENT_USER")
        connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
        connection.close()


def test_row_security_in_a_schema_log_of_another_application_is_not_refused(empty_database_url: str) -> None:
    """The database of a mirror may have such a schema."""
    connection = psycopg.connect(empty_database_url, autocommit=True)
    role = f"mirror_{connection.info.dbname}"
    connection.execute(
        f"""CREATE ROLE {role} LOGIN; CREATE SCHEMA log; CREATE TABLE log.requests (path text);
        ALTER TABLE log.requests ENABLE ROW LEVEL SECURITY""".encode()
    )
    try:
        connect(empty_database_url.replace("orders@", f"{role}@", 1), "test").close()
    finally:
        connection.execute(f"DROP ROLE {role}".encode())
        connection.close()
