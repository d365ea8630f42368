import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from eventlog.events import UserDeleted
from projector.shadow import REPLAY_SCHEMA, only_one
from service.cli.read_tables import DIFFERENCES_SHOWN_MAX
from tests.builders import Writing, append_events, new_event, wait_until
from tests.service.cli.conftest import Run, one_line

SOON = 30


def execute(database_url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def schemas(database_url: str) -> set[object]:
    return {name for (name,) in execute(database_url, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'read%'")}


def test_replay_tells_what_it_did(run: Run, shop: Writing, database_url: str) -> None:
    ((head,),) = execute(database_url, "SELECT position FROM log.head")
    done = run("replay")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"rebuilt read_tables from {head} events in ")
    assert done.stdout.rstrip().endswith("events/s)")
    assert done.stderr == "", "no progress bar where nobody watches"
    assert run("replay", "read_tables").returncode == 0


@pytest.mark.parametrize("name", ["users", "order_items", "nonsense"])
def test_what_cannot_be_replayed_by_itself_is_refused(run: Run, name: str) -> None:
    told = one_line(run("replay", name), 2)
    assert f"no projection {name!r}" in told
    assert "as read_tables" in told


def test_verify_says_so_when_all_is_right(run: Run, shop: Writing) -> None:
    done = run("verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no difference between the read tables and the log, at position ")
    assert "orders 10" in done.stdout
    document = json.loads(run("verify", "--json").stdout)
    assert document["equal"] is True
    assert document["rows"]["orders"] == 10
    assert document["differences"] == []


def test_verify_names_what_differs_and_ends_with_1(run: Run, shop: Writing, database_url: str) -> None:
    ((order, total),) = execute(database_url, "SELECT id, total::text FROM read.orders ORDER BY id LIMIT 1")
    execute(database_url, f"UPDATE read.orders SET total = 999 WHERE id = '{order}'")
    execute(database_url, "UPDATE read.products SET name = E'\\x1b[31m\\n' WHERE sku IS NOT NULL AND stock IS NULL")
    done = run("verify")
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if str(order) in line]
    assert line.split() == ["orders", str(order), "total", "999", str(total)]
    assert "\x1b" not in done.stdout
    assert "2 differences between the read tables and the log" in done.stdout
    assert "orders replay" in done.stdout

    document = json.loads(run("verify", "--json").stdout)
    assert document["equal"] is False
    assert document["differences"][-1] == {
        "table": "orders",
        "key": {"id": str(order)},
        "column": "total",
        "stands": 999,
        "should_be": total,
    }


def test_verify_shows_no_more_than_anybody_reads(run: Run, shop: Writing, database_url: str) -> None:
    for _ in range(DIFFERENCES_SHOWN_MAX):
        shop.user()
    execute(database_url, "UPDATE read.checkpoint SET position = (SELECT position FROM log.head)")
    execute(database_url, "DELETE FROM read.order_items")
    ((items,),) = execute(database_url, "SELECT count(*) FROM log.events WHERE type = 'OrderPlaced'")
    done = run("verify")
    assert done.returncode == 1
    shown = [line for line in done.stdout.splitlines() if line.startswith(("users ", "order_items "))]
    assert len(shown) == DIFFERENCES_SHOWN_MAX
    assert "more: --json shows all" in done.stdout
    differences = json.loads(run("verify", "--json").stdout)["differences"]
    assert len(differences) >= DIFFERENCES_SHOWN_MAX + int(str(items))


@pytest.mark.parametrize("command", ["replay", "verify"])
def test_another_that_runs_is_told_by_its_process(run: Run, database_url: str, command: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection, only_one(connection):
        told = one_line(run(command), 1)
        assert f"another replay or verify is running (PostgreSQL process {connection.info.backend_pid})" in told


@pytest.mark.parametrize("command", ["replay", "verify", "status", "events"])
def test_a_database_that_was_not_migrated_is_one_line(run: Run, empty_database_url: str, command: str) -> None:
    assert "orders migrate" in one_line(run(command, DATABASE_URL=empty_database_url), 1)
    assert schemas(empty_database_url) == set()


@pytest.mark.parametrize("command", ["replay", "verify", "status", "events"])
def test_a_database_that_is_not_there_is_one_line(run: Run, command: str) -> None:
    assert "check DATABASE_URL" in one_line(run(command, DATABASE_URL="postgresql://orders@127.0.0.1:1/orders"), 1)


def test_a_stream_that_cannot_be_projected_is_told_by_replay_and_verify(run: Run, database_url: str) -> None:
    append_events(database_url, [new_event("user-x", 1, UserDeleted())._replace(type="UserTeleported")])
    assert "1 streams are parked, because an event of theirs cannot be projected: orders parked" in run("replay").stdout
    told = run("verify")
    assert (told.returncode, "no difference" in told.stdout) == (0, True)
    assert "1 streams are parked, with what they still lack: orders parked" in told.stdout


def test_a_role_that_may_not_make_schemas_is_told_so(run: Run, database_url: str) -> None:
    name = f"reader_{database_url.rsplit('/', maxsplit=1)[-1].split('?', maxsplit=1)[0]}"
    execute(database_url, f'CREATE ROLE "{name}" LOGIN')
    execute(database_url, f'GRANT USAGE ON SCHEMA log, read TO "{name}"')
    execute(database_url, f'GRANT SELECT ON ALL TABLES IN SCHEMA log, read TO "{name}"')
    try:
        url = database_url.replace("orders@", f"{name}@", 1)
        assert "may create schemas" in one_line(run("verify", DATABASE_URL=url), 1)
    finally:
        execute(database_url, f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


def test_ctrl_c_leaves_the_old_tables_serving_and_drops_the_new_ones(
    shop: Writing, database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(database_url) as reader:
        # Its last step waits for whoever uses the tables.
        reader.execute("SELECT FROM read.checkpoint")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.cli", "replay"],
            env={"PATH": os.defpath, "DATABASE_URL": database_url},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: REPLAY_SCHEMA in schemas(database_url), SOON, "the new tables")
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=SOON)
    told = one_line(subprocess.CompletedProcess([], process.returncode, said, complained), 1)
    assert "interrupted: the old read tables go on serving" in told
    assert schemas(database_url) == {"read"}
    assert execute(database_url, "SELECT count(*) FROM read.orders") == [(10,)]
