"""What the doctor says of PostgreSQL itself and of those who stand in the service's way."""

import json
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from service.doctor import examine, server
from service.embedded import PostgresServer
from service.health.holders import HELD_SECONDS_MIN
from service.migrate import upgrade
from tests.projecting import projected
from tests.service.cli.conftest import Run


@pytest.fixture(scope="module")
def durable_url() -> Iterator[str]:
    """A server as it should be, with tables, what projects them, and room for prepared transactions."""
    with tempfile.TemporaryDirectory() as place:
        # As root the server runs as another user, who must get through.
        Path(place).chmod(0o755)
        with PostgresServer(Path(place), {"max_prepared_transactions": "2"}) as postgres:
            upgrade(postgres.url)
            with projected(postgres.url):
                yield postgres.url


def findings(url: str, check: str) -> list[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        found = examine(connection).findings[check]
    assert all(it.remedy for it in found)
    return [it.what for it in found]


def test_the_doctor_ends_with_0_for_a_healthy_service(run: Run, durable_url: str) -> None:
    done = run("doctor", DATABASE_URL=durable_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("all well: 31 checks of 0 events in ")
    document = json.loads(run("doctor", "--json", DATABASE_URL=durable_url).stdout)
    assert document["healthy"] is True
    assert len(document["checks"]) == 31


def test_a_quick_look_leaves_out_the_checks_that_read_the_log(run: Run, durable_url: str) -> None:
    done = run("doctor", "--quick", "--json", DATABASE_URL=durable_url)
    names = [it["name"] for it in json.loads(done.stdout)["checks"]]
    assert done.returncode == 0
    assert {"durability", "projections", "clock", "disk"} < set(names)
    assert not {"positions", "stock", "claims"} & set(names)


def test_the_doctor_ends_with_1_for_settings_that_endanger_commits(run: Run, database_url: str) -> None:
    done = run("doctor")
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("durability: ")] == [
        f"durability: {name} is off" for name in ("fsync", "full_page_writes", "synchronous_commit")
    ]
    document = json.loads(run("doctor", "--json").stdout)
    assert document["healthy"] is False
    (found,) = [check["findings"] for check in document["checks"] if check["name"] == "durability"]
    assert found[0] == {
        "what": "fsync is off",
        "since": None,
        "why": "a crash of the server may lose orders that were answered with 201",
        "remedy": "set fsync = on in PostgreSQL, or it loses orders when it crashes",
        "accepted": False,
    }
    assert len(found) == 3
    assert "  why:   a crash of the server may lose orders" in done.stdout
    assert "  do:    set fsync = on in PostgreSQL" in done.stdout


def test_a_finding_says_since_when(run: Run, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE log.head SET recorded_at = now() + interval '90 s'")
        connection.execute(
            "INSERT INTO log.verifications VALUES ('shop', (SELECT generation FROM shop.checkpoint), 7, 2, "
            "now() - interval '3 hours')"
        )
    said = run("doctor", "--quick").stdout
    assert "verified: the last verify of shop found 2 differences between the tables and the log, at position 7" in said
    assert " UTC, 3 h ago\n" in said
    assert "clock: the clock of PostgreSQL's machine is " in said


def test_the_doctor_fails_in_one_line_if_the_role_may_not_read_the_log(run: Run, database_url: str) -> None:
    name = "doctor_" + psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]  # type: ignore[operator]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f'CREATE ROLE "{name}" LOGIN'.encode())
        try:
            done = run("doctor", DATABASE_URL=database_url.replace("orders@", f"{name}@", 1))
        finally:
            connection.execute(f'DROP ROLE "{name}"'.encode())
    assert done.returncode == 1
    assert done.stderr.startswith("orders: permission denied for schema log")
    assert done.stderr.count("\n") == 1


def test_the_doctor_names_the_session_that_blocks_the_service(database_url: str) -> None:
    held = {
        "log.head": "SELECT FROM log.head FOR UPDATE",
        "shop.checkpoint": "SELECT FROM shop.checkpoint WHERE worker IS DISTINCT FROM 'it''s secret' FOR SHARE",
        "shop.orders": "LOCK TABLE shop.orders IN SHARE MODE",
    }
    effects = {
        "log.head": "every write is refused with 503 after 5 seconds: ",
        "shop.checkpoint": "the read tables stay as they are: ",
    }
    pids = {}
    began = time.monotonic()
    with ExitStack() as stack:
        for name, statement in held.items():
            session = stack.enter_context(psycopg.connect(database_url, application_name="psql of Ada"))
            session.execute(statement.encode())
            pids[name] = session.info.backend_pid
        # Who only reads is in nobody's way.
        reader = stack.enter_context(psycopg.connect(database_url))
        reader.execute("SELECT FROM log.head, shop.checkpoint, shop.orders")
        time.sleep(HELD_SECONDS_MIN + 0.2)
        told = findings(database_url, "in the way")
    assert len(told) == len(held), told
    for name, pid in pids.items():
        (line,) = [line for line in told if line.endswith(f"holds {name}")]
        found = re.match(
            rf"{effects.get(name, '')}PostgreSQL process {pid} \(psql of Ada, idle in transaction for (\d+) s: ", line
        )
        assert found, line
        assert HELD_SECONDS_MIN <= int(found[1]) <= time.monotonic() - began
        assert "secret" not in line


def test_the_doctor_names_the_session_of_an_open_transaction(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS_MAX", 0)
    with psycopg.connect(database_url, application_name="psql of Bob") as session:
        session.execute("SELECT 1")
        told = findings(database_url, "left open")
    assert [line for line in told if "psql of Bob, idle in transaction" in line and "SELECT 1" in line]


def test_the_doctor_names_an_unfinished_prepared_transaction(durable_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PREPARED_SECONDS_MAX", 0)
    with psycopg.connect(durable_url, autocommit=True) as connection:
        connection.execute("BEGIN; SELECT FROM log.head FOR UPDATE; PREPARE TRANSACTION 'forgotten'")
        try:
            (told,) = findings(durable_url, "prepared transactions")
        finally:
            connection.execute("ROLLBACK PREPARED 'forgotten'")
    assert "'forgotten' was prepared in orders" in told


def test_the_doctor_names_an_unused_slot_that_keeps_wal(durable_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(durable_url, autocommit=True) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('away', true)")
        try:
            assert findings(durable_url, "replication slots") == [], "a little is nothing to tell"
            monkeypatch.setattr(server, "SLOT_BYTES_MAX", -1)
            (told,) = findings(durable_url, "replication slots")
        finally:
            connection.execute("SELECT pg_drop_replication_slot('away')")
    assert "the unused replication slot 'away' keeps " in told


TABLES = ["log.events", "log.head", "shop.checkpoint", "access.api_keys", "operations.imports", "mirrors.standings"]


@pytest.mark.parametrize("table", TABLES)
def test_the_doctor_names_a_session_that_locks_a_whole_table(table: str, run: Run, database_url: str) -> None:
    with psycopg.connect(database_url, application_name="psql of Ada") as holder:
        holder.execute(f"LOCK TABLE {table}".encode())
        time.sleep(HELD_SECONDS_MIN)
        done = run("doctor")
    assert (done.returncode, done.stderr) == (1, "")
    assert "not checked, because another session holds a lock on what it reads" in done.stdout
    assert re.search(rf"^in the way: .*psql of Ada.* holds {re.escape(table)}", done.stdout, re.MULTILINE)


def test_the_doctor_goes_on_beside_a_lost_checkpoint(run: Run, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("DELETE FROM shop.checkpoint")
    done = run("doctor")
    assert (done.returncode, done.stderr) == (1, "")
    assert "projections: log.head or a checkpoint has lost its row" in done.stdout
    assert "  do:    run `orders replay`" in done.stdout
    assert "durability: fsync is off" in done.stdout
