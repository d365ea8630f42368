"""The service does the same, or refuses in one line, whatever the database, the role and the environment are set to."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from database.sessions import connect
from projector.follower import Follower
from projector.projections.shop import SHOP
from tests.command_line import run_here
from tests.conftest import Servers, url_of
from tests.projecting import sweep
from tests.served import NO_REDIS, Shop, served
from tests.system.overloads import add_overloads

FORMATS = {
    "array_nulls": "off",
    "backslash_quote": "on",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "datestyle": "SQL, DMY",
    "escape_string_warning": "off",
    "extra_float_digits": "-15",
    "intervalstyle": "sql_standard",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "timezone": "Australia/Eucla",
    "transform_null_equals": "on",
}
TRANSACTIONS = {
    "client_min_messages": "error",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "exit_on_error": "on",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "100ms",
    "lock_timeout": "1ms",
    "plan_cache_mode": "force_generic_plan",
    "row_security": "off",
    "search_path": "evil, pg_catalog",
    "statement_timeout": "5ms",
    "transaction_timeout": "50ms",
}
# The operator's own choice: nothing sets these, and nothing depends on them.
LEFT_ALONE = {
    "check_function_bodies": "off",
    "client_connection_check_interval": "1s",
    "cursor_tuple_fraction": "1.0",
    "default_statistics_target": "1",
    "default_tablespace": "pg_default",
    "enable_indexscan": "off",
    "enable_seqscan": "off",
    "from_collapse_limit": "1",
    "geqo_threshold": "2",
    "jit_above_cost": "0",
    "synchronize_seqscans": "off",
    "work_mem": "64kB",
}
PLPGSQL = {
    "plpgsql.check_asserts": "off",
    "plpgsql.extra_errors": "all",
    "plpgsql.extra_warnings": "all",
    "plpgsql.print_strict_params": "on",
    "plpgsql.variable_conflict": "use_variable",
}
PLANNER = {
    "constraint_exclusion": "on",
    "cpu_operator_cost": "1000000",
    "debug_parallel_query": "on",
    "enable_bitmapscan": "off",
    "enable_hashagg": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_nestloop": "off",
    "enable_sort": "off",
    "hash_mem_multiplier": "1",
    "join_collapse_limit": "1",
    "max_parallel_workers_per_gather": "2",
    "min_parallel_table_scan_size": "0",
    "parallel_leader_participation": "off",
    "parallel_setup_cost": "0",
    "random_page_cost": "1000000000",
    "recursive_worktable_factor": "0.001",
}
SERVER = {
    "commit_delay": "1000",
    "commit_siblings": "1",
    "event_triggers": "off",
    "gin_fuzzy_search_limit": "1",
    "icu_validation_level": "error",
    "lo_compat_privileges": "on",
    "maintenance_work_mem": "64kB",
    "max_stack_depth": "100kB",
    "restrict_nonsystem_relation_kind": "view, foreign-table",
    "stats_fetch_consistency": "snapshot",
    "temp_buffers": "800kB",
    "temp_file_limit": "0",
    "timezone_abbreviations": "India",
    "track_activities": "off",
    "vacuum_truncate": "off",
    "xmlbinary": "hex",
    "xmloption": "document",
}
ENVIRONMENT = {
    "PGCLIENTENCODING": "LATIN1",
    "PGDATESTYLE": "German",
    "PGGEQO": "off",
    "PGOPTIONS": "-c standard_conforming_strings=off -c client_min_messages=error -c statement_timeout=5ms",
    "PGTZ": "Asia/Kathmandu",
}
GROUPS = [
    pytest.param(scope, settings, id=f"{name} of the {scope}")
    for scope in ("database", "role")
    for name, settings in (("formats", FORMATS), ("transactions", TRANSACTIONS))
] + [
    pytest.param("database", LEFT_ALONE, id="what is left alone"),
    pytest.param("database", PLANNER, id="the planner's methods and costs"),
    pytest.param("database", SERVER, id="the rest of the server's"),
    pytest.param("database", PLPGSQL, id="PL/pgSQL's"),
]

# What a search path must not find before PostgreSQL's own.
EVIL = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz 'epoch' $$;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz 'epoch' $$;
CREATE FUNCTION evil.count(text) RETURNS bigint LANGUAGE sql AS $$ SELECT -1 $$;
"""
# Two triggers that an operator may add: one raises a warning, one changes settings of each session at login.
WARNING_TRIGGER = """
CREATE FUNCTION public.warn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'seen'; RETURN NULL; END $$;
CREATE TRIGGER warn AFTER INSERT ON log.events EXECUTE FUNCTION public.warn();
"""
LOGIN_TRIGGER = """
CREATE FUNCTION public.settle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('client_encoding', 'LATIN1', false), set_config('datestyle', 'SQL, DMY', false),
        set_config('statement_timeout', '5ms', false);
END $$;
CREATE EVENT TRIGGER settle ON login EXECUTE FUNCTION public.settle();
"""
# What databases from PostgreSQL 8.2, MySQL or Oracle have, and an operator that fits better than PostgreSQL's own.
TYPES = "int2 int4 int8 numeric float8 date timestamptz interval uuid json bytea oid regclass regrole regtype"
CASTS = "".join(f"CREATE CAST ({name} AS text) WITH INOUT AS IMPLICIT;" for name in TYPES.split())
# What JDBC's users are advised to add, so that a string may be given for anything.
READS_TEXT = "".join(
    f"CREATE CAST ({given} AS {name}) WITH INOUT AS IMPLICIT;"
    for given in ("text", "varchar")
    for name in ["bool", "bytea", "date", "int4", "int8", "interval", "json", "jsonb", "numeric", "timestamptz", "uuid"]
)
OPERATOR = "CREATE OPERATOR public.|| (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)"
NAME = "Jürgen O'Brien \\ 'n' ñ€"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """An `orders` command from the command line to the exit code, in this process."""

    def run(*arguments: str, url: str = database_url) -> subprocess.CompletedProcess[str]:
        return run_here(arguments, {"DATABASE_URL": url, "REDIS_URL": NO_REDIS}, monkeypatch, capsys)

    return run


def day(shop: Shop) -> list[Any]:
    """What a shop does in a day, and the answers to it."""
    user = {"name": NAME, "email": "jürgen@example.org", "external_id": "back\\slash"}
    made = [shop.user(**user), shop.product(sku="TEA", name=NAME, price="0.10", stock=7)]
    order = {"user_id": made[0]["id"], "items": [{"sku": "TEA", "quantity": 3}], "note": NAME}
    key = {"Idempotency-Key": "once"}
    placed = [shop.post("/orders", json=order, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in placed] == [201, 201], placed[0].text
    assert placed[0].content == placed[1].content
    location = placed[0].headers["location"]
    cancelled = shop.post(f"{location}/cancel", json={"lines": [{"line": 1, "quantity": 1}]})
    assert cancelled.status_code == 200, cancelled.text
    with closing(Follower(shop.database_url, SHOP)) as projector:
        projector.sweep()
    token = {"Sync-Token": cancelled.headers["sync-token"]}
    paths = [location, f"/users/{made[0]['id']}", "/products?sku=TEA", "/orders", "/events"]
    read = [shop.get(path, headers=token) for path in paths]
    assert [answer.status_code for answer in read] == [200] * len(paths), [answer.text for answer in read]
    assert read[0].json() == cancelled.json()
    assert shop.get("/metrics").text.count("orders_projection")
    return [*made, placed[0].json(), cancelled.json(), *(answer.json() for answer in read)]


def examined(url: str, run: Run) -> list[Any]:
    """What the commands say about it."""
    replayed, verified, status = run("replay"), run("verify", "--json"), run("status", "--json")
    assert (replayed.returncode, verified.returncode, status.returncode) == (0, 0, 0), (replayed, verified, status)
    sweep(url)  # or the doctor says since when no worker has looked
    checks = json.loads(run("doctor", "--json").stdout)["checks"]
    events = run("events", "--json").stdout.splitlines()
    found = [(check["name"], check["findings"]) for check in checks]
    return [json.loads(verified.stdout), found, [json.loads(event) for event in events]]


def outcome(url: str, run: Run) -> str:
    """All of it as a text, without what differs from one run to the next."""
    with served(url) as shop:
        told = day(shop)
    told += examined(url, run)
    with connect(url, "test") as connection:
        recent = (
            "SELECT count(*) FROM log.events WHERE recorded_at > now() - interval '1 hour' AND recorded_at <= now()"
        )
        told += connection.execute(recent).fetchall()
    text = json.dumps(told, ensure_ascii=False, indent=1, default=str)
    ids = {found: f"id-{number}" for number, found in enumerate(dict.fromkeys(_ID.findall(text)))}
    text = _ID.sub(lambda found: ids[found[0]], text)
    return _NUMBERED.sub(r"\1", _TIME.sub("time", text))


_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_NUMBERED = re.compile(r"((?:User |user|SKU-|Product ))\d+")


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    """The outcome without foreign settings, once it is known."""
    return {}


@pytest.fixture
def clean_url(servers: Servers, database_url: str) -> Iterator[str]:
    """Another fresh database, on which nothing is set."""
    name = f"{servers.template}_clean_{os.getpid()}"
    with psycopg.connect(servers.postgres_url, autocommit=True) as admin:
        template = sql.Identifier(servers.template)
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), template))
        yield url_of(servers.postgres_url, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def normal(expected: dict[str, str], clean_url: str, run: Run) -> str:
    if not expected:
        expected["outcome"] = outcome(clean_url, lambda *arguments: run(*arguments, url=clean_url))
        assert "Jürgen" in expected["outcome"]
    return expected["outcome"]


def alter(url: str, scope: str, settings: dict[str, str]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        of = sql.SQL("DATABASE {}").format(sql.Identifier(str(conninfo_to_dict(url)["dbname"])))
        if scope == "role":
            of = sql.SQL("ROLE CURRENT_USER IN {}").format(of)
        for name, value in settings.items():
            values = sql.SQL(", ").join(sql.Literal(part.strip()) for part in value.split(","))
            connection.execute(sql.SQL("ALTER {} SET {} = {}").format(of, sql.Identifier(name), values))


@pytest.mark.parametrize(("scope", "settings"), GROUPS)
def test_settings_of_postgresql_make_no_difference(
    scope: str, settings: dict[str, str], normal: str, database_url: str, run: Run
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(EVIL)
    alter(database_url, scope, settings)
    assert outcome(database_url, run) == normal


@pytest.mark.parametrize(
    "added",
    [WARNING_TRIGGER, LOGIN_TRIGGER, CASTS, READS_TEXT, OPERATOR],
    ids=["warns", "sets settings at login", "casts to text", "casts from text", "fits better"],
)
def test_triggers_casts_and_operators_of_others_make_no_difference(
    added: str, normal: str, database_url: str, run: Run
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(added.encode())
    assert outcome(database_url, run) == normal


def test_functions_and_operators_that_fit_better_make_no_difference(normal: str, database_url: str, run: Run) -> None:
    add_overloads(database_url)
    assert outcome(database_url, run) == normal


def test_environment_variables_make_no_difference(
    normal: str, database_url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert outcome(database_url, run) == normal


@pytest.mark.parametrize(
    "command",
    ["serve", "work", "migrate", "replay", "verify", "doctor", "status", "events", "import tests/fixtures/shop"],
)
def test_a_database_of_another_encoding_is_refused_in_one_line(command: str, latin_url: str, run: Run) -> None:
    done = run(*command.split(), url=latin_url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("orders: the database's encoding is LATIN1: make another one with ENCODING 'UTF8'")
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def latin_url(servers: Servers) -> Iterator[str]:
    name = f"{servers.template}_latin_{os.getpid()}"
    with psycopg.connect(servers.postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'".encode())
        yield url_of(servers.postgres_url, name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
