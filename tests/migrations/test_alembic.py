"""The command `alembic` works by habit, in a checkout, and never wants to drop what the log consists of."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from service.migrate import expected_revision

ROOT = Path(__file__).parents[2]


def alembic(database_url: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    if database_url:
        environment["DATABASE_URL"] = database_url
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_current_check_and_history_work(database_url: str) -> None:
    current = alembic(database_url, "current")
    assert current.stdout.strip() == f"{expected_revision()} (head)", current.stderr
    check = alembic(database_url, "check")
    assert check.stdout.strip() == "No new upgrade operations detected.", check.stdout + check.stderr
    assert f"-> {expected_revision()} (head)" in alembic(None, "history").stdout


def test_tables_of_others_are_not_seen(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.theirs (id int)")
    assert alembic(database_url, "check").returncode == 0


def test_a_role_that_only_reads_may_ask_for_the_revision(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "ALTER ROLE CURRENT_USER IN DATABASE " + _name(database_url) + " SET default_transaction_read_only = on"
        )
    done = alembic(database_url, "current")
    assert done.returncode == 0, done.stderr


def test_an_empty_database_has_no_revision_and_stays_empty(empty_database_url: str) -> None:
    done = alembic(empty_database_url, "current")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regnamespace('log')").fetchall() == [(None,)]


def test_downgrade_refuses_to_delete_the_log(database_url: str) -> None:
    done = alembic(database_url, "downgrade", "base")
    assert done.returncode != 0
    assert "no migration deletes it" in done.stdout + done.stderr
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM log.events").fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("url", "arguments", "said"),
    [
        (None, ["current"], "set DATABASE_URL"),
        ("postgresql://nobody@127.0.0.1:1/x", ["current"], "Connection refused"),
        ("postgresql://nobody@127.0.0.1:1/x", ["upgrade", "head", "--sql"], "there is no --sql"),
    ],
)
def test_an_impossible_command_fails_with_one_line(url: str | None, arguments: list[str], said: str) -> None:
    done = alembic(url, *arguments)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def _name(database_url: str) -> str:
    with psycopg.connect(database_url) as connection:
        return connection.info.dbname
