"""Columns, constraints and triggers that others add to the tables of the service, and that refuse what it writes."""

import logging
import os
import re
import socket
import time
from pathlib import Path

import psycopg
import pytest

from eventlog.ids import new_id
from service.health.writes import LOOK_EVERY_SECONDS
from tests.builders import wait_until
from tests.command_line import run_here
from tests.projecting import sweep
from tests.served import NO_REDIS, problem, served

USER = {"name": "Ada", "email": "ada@example.org"}
FUNCTION = """
CREATE FUNCTION public.frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no changes during the audit of %', NEW; END $$
"""
# What others add to a table, how they take it away again, and what an operator reads.
COLUMN = (
    "ALTER TABLE {} ADD tenant int NOT NULL DEFAULT 1; ALTER TABLE {} ALTER tenant DROP DEFAULT",
    "ALTER TABLE {} ALTER tenant DROP NOT NULL",
    "the column tenant of {} is NOT NULL",
)
CONSTRAINT = (
    "ALTER TABLE {} ADD CONSTRAINT house_rule CHECK (false) NOT VALID",
    "ALTER TABLE {} DROP CONSTRAINT house_rule",
    "the constraint house_rule of {}",
)
TRIGGER = (
    FUNCTION + "; CREATE TRIGGER frozen BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION public.frozen()",
    "DROP TRIGGER frozen ON {}",
    "the function frozen() failed",
)


@pytest.mark.parametrize("table", ["log.events", "log.claims", "log.idempotency_keys"])
@pytest.mark.parametrize("rule", [COLUMN, CONSTRAINT, TRIGGER], ids=["column", "constraint", "trigger"])
def test_a_rule_that_refuses_commands_is_named_to_operators_alone(
    table: str, rule: tuple[str, str, str], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    added, dropped, said = (text.replace("{}", table) for text in rule)
    with psycopg.connect(database_url, autocommit=True) as admin, served(database_url) as shop:
        sweep(database_url)
        admin.execute(added.encode())
        with caplog.at_level(logging.WARNING):
            answer = shop.post("/users", json=USER, headers={"Idempotency-Key": "ada"})
        assert problem(answer) == (503, "unavailable")
        assert "the database refuses what the service writes" in answer.json()["detail"]
        assert said not in answer.text
        assert said in caplog.text
        assert "ada@example.org" not in caplog.text
        assert "Traceback" not in caplog.text
        assert said in shop.get("/readyz").json()["degraded"]["commands"]
        admin.execute(dropped.encode())
        assert shop.post("/users", json=USER, headers={"Idempotency-Key": "ada"}).status_code == 201
        assert "commands" not in shop.get("/readyz").json()["degraded"]


def test_a_look_at_the_log_does_not_clear_the_trouble_of_commands_that_would_fail(database_url: str) -> None:
    added, _, said = (text.replace("{}", "log.events") for text in CONSTRAINT)
    with psycopg.connect(database_url, autocommit=True) as admin, served(database_url) as shop:
        admin.execute(added.encode())
        assert shop.post("/users", json=USER).status_code == 503
        time.sleep(LOOK_EVERY_SECONDS + 0.5)  # the next readiness looks again: it writes as a command does
        assert said in shop.get("/readyz").json()["degraded"]["commands"]


def test_a_look_at_the_log_leaves_nothing_in_it(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin, served(database_url) as shop:
        sweep(database_url)
        admin.execute(COLUMN[0].replace("{}", "log.events").encode())
        assert shop.post("/users", json=USER).status_code == 503
        admin.execute(COLUMN[1].replace("{}", "log.events").encode())
        wait_until(
            lambda: "commands" not in shop.get("/readyz").json()["degraded"], 3 * LOOK_EVERY_SECONDS, "the next look"
        )
        for table in ("events", "claims", "snapshots", "idempotency_keys"):
            assert admin.execute(f"SELECT FROM log.{table}".encode()).rowcount == 0
        assert shop.head() == 0


@pytest.mark.parametrize("identity", ["FULL", "NOTHING"])
def test_a_publication_that_does_not_fit_a_table_is_named_to_operators(
    identity: str,
    database_url: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As Debezium makes it by itself, after REPLICA IDENTITY FULL: log.head has a generated column."""
    said = "a publication has this table: ALTER TABLE ... REPLICA IDENTITY DEFAULT, or change the publication"
    environment = {"DATABASE_URL": database_url, "REDIS_URL": NO_REDIS}
    with psycopg.connect(database_url, autocommit=True) as admin, served(database_url) as shop:
        sweep(database_url)
        admin.execute("CREATE PUBLICATION changes FOR ALL TABLES")
        admin.execute(f"ALTER TABLE log.head REPLICA IDENTITY {identity}".encode())
        assert problem(shop.post("/users", json=USER)) == (503, "unavailable")
        assert "Traceback" not in caplog.text
        assert said in shop.get("/readyz").json()["degraded"]["commands"]
        create = ["keys", "create", "--name", "a", "--role", "staff"]
        done = run_here(create, environment, monkeypatch, capsys)
        assert (done.returncode, done.stderr.count("\n"), done.stderr.count('"head"')) == (1, 1, 1)
        assert done.stderr.startswith('orders: PostgreSQL: cannot update table "head"')
        assert done.stderr.endswith(f"{said}\n")
        admin.execute("ALTER TABLE log.head REPLICA IDENTITY DEFAULT")
        assert shop.post("/users", json=USER).status_code == 201


def test_a_column_that_was_made_shorter_is_named_to_operators_alone(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin, served(database_url) as shop:
        sweep(database_url)
        admin.execute("ALTER TABLE log.claims ALTER stream TYPE varchar(20)")
        answer = shop.post("/users", json=USER)
        assert problem(answer) == (503, "unavailable")
        assert "character varying" not in answer.text
        said = "value too long for type character varying(20): give the column its type of this release again"
        assert said in shop.get("/readyz").json()["degraded"]["commands"]


def test_a_column_of_another_type_is_named_to_operators(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin, served(database_url) as shop:
        sweep(database_url)
        admin.execute("ALTER TABLE log.claims ALTER stream TYPE bytea USING stream::bytea")
        assert problem(shop.post("/users", json=USER)) == (503, "unavailable")
        assert "columns of another type" in shop.get("/readyz").json()["degraded"]["commands"]


def test_readyz_says_that_row_security_hides_the_log(database_url: str) -> None:
    role = f"hidden_{os.getpid()}"
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN".encode())
        admin.execute(f"GRANT USAGE ON SCHEMA log, shop, sales, activity, access TO {role}".encode())
        admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA log, shop, sales, activity, access TO {role}".encode())
        try:
            with served(database_url.replace("orders@", f"{role}@")) as shop:
                sweep(database_url)
                assert "database" not in shop.get("/readyz").json()["not_ready"]
                admin.execute("ALTER TABLE log.events ENABLE ROW LEVEL SECURITY")
                reason = shop.get("/readyz").json()["not_ready"]["database"]
                assert reason.startswith("row security may hide rows of log.events from this role")
        finally:
            admin.execute(f"DROP OWNED BY {role}".encode())
            admin.execute(f"DROP ROLE {role}".encode())


def test_readyz_names_the_session_that_keeps_commands_from_a_table(database_url: str) -> None:
    with served(database_url) as shop, psycopg.connect(database_url, application_name="psql of Ada") as holder:
        sweep(database_url)
        holder.execute("LOCK TABLE log.claims")
        assert problem(shop.post("/users", json=USER)) == (503, "unavailable")
        reason = shop.get("/readyz").json()["degraded"]["commands"]
    assert re.search(r"psql of Ada, idle in transaction .* holds log.claims", reason)


def test_readyz_names_columns_that_will_refuse_commands_or_are_gone(database_url: str) -> None:
    def reason() -> str:
        return str(shop.get("/readyz").json()["not_ready"].get("database"))

    with psycopg.connect(database_url, autocommit=True) as admin, served(database_url) as shop:
        assert reason() == "None"
        admin.execute("ALTER TABLE log.claims ADD note text, ADD number int GENERATED ALWAYS AS IDENTITY")
        admin.execute("ALTER TABLE log.claims ADD at timestamptz NOT NULL DEFAULT now()")
        assert reason() == "None"
        admin.execute(COLUMN[0].replace("{}", "log.claims").encode())
        assert reason().startswith(
            "it has columns that are not of this release, NOT NULL and without a default (log.claims.tenant)"
        )
        admin.execute(COLUMN[1].replace("{}", "log.claims").encode())
        admin.execute("ALTER TABLE log.events RENAME metadata TO elsewhere")
        assert reason() == "it lacks log.events.metadata: restore it from a backup, whole"
        for path in ("/audit", f"/orders/{new_id()}/history"):
            assert problem(shop.get(path)) == (503, "unavailable")
        admin.execute("ALTER TABLE log.events RENAME elsewhere TO metadata")
        admin.execute("ALTER TABLE shop.checkpoint RENAME version TO elsewhere")
        for path in ("/projections", "/readyz", "/users"):
            assert shop.get(path).status_code == 503, path
        assert "not those of this release" in reason()
        assert shop.get("/metrics").status_code == 200


@pytest.mark.parametrize("rule", [COLUMN, CONSTRAINT, TRIGGER], ids=["column", "constraint", "trigger"])
@pytest.mark.parametrize(
    ("table", "command"),
    [
        ("log.events", "import tests/fixtures/shop --currency EUR"),
        ("access.api_keys", "keys create --name till --role staff"),
        ("log.events", "keys create --name till --role staff"),
        ("log.verifications", "verify sales"),
    ],
)
def test_a_command_names_the_rule_in_one_line(
    table: str,
    command: str,
    rule: tuple[str, str, str],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(rule[0].replace("{}", table).encode())
    arguments = command.replace("tests/", f"{Path(__file__).parents[1]}/").split()
    done = run_here(arguments, {"DATABASE_URL": database_url}, monkeypatch, capsys, tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    said = rule[2].replace("{}", table)
    assert said in done.stderr or "frozen() in the database failed" in done.stderr


def test_import_mirror_and_status_find_out_within_seconds_that_a_port_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://orders@127.0.0.1:{silent.getsockname()[1]}/orders"
        shop = Path(__file__).parents[1] / "fixtures" / "shop"
        for arguments in (["import", str(shop)], ["mirror", "sqlite:///./app.db", "--once"], ["status"]):
            began = time.monotonic()
            done = run_here(arguments, {"DATABASE_URL": url, "REDIS_URL": NO_REDIS}, monkeypatch, capsys, tmp_path)
            assert time.monotonic() - began < 8, arguments
            assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
            assert "check DATABASE_URL" in done.stderr
