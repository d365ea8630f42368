"""`orders mirror`: what it prints, its exit codes, and one line for what an operator does wrong."""

import json
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from projector.mirror.standings import LISTED_MAX
from tests.builders import Writing
from tests.service.cli.conftest import Run, one_line
from tests.system.stack import SURROUNDINGS

MISUSE = 2


def test_a_mirror_is_made_verified_and_rebuilt(run: Run, shop: Writing, tmp_path: Path) -> None:
    url = "sqlite:///./app.db"
    made = run("mirror", url, "--once")
    assert made.returncode == 0, made.stderr
    assert "shop is at position" in made.stdout
    assert (tmp_path / "app.db").exists()
    verified = run("mirror", url, "--verify")
    assert verified.returncode == 0, verified.stderr
    assert "shop: no difference between tables and log" in verified.stdout

    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute("UPDATE users SET name = 'wrong'")
    connection.close()
    differs = run("mirror", url, "--verify", "-p", "shop")
    assert differs.returncode == 1
    assert "rebuild them with: orders mirror URL --rebuild" in differs.stdout
    assert run("mirror", url, "--rebuild", "--projection", "shop").returncode == 0
    assert run("mirror", url, "--verify").returncode == 0


def test_a_mirror_is_listed_by_status(run: Run, shop: Writing, tmp_path: Path) -> None:
    run("mirror", "sqlite:///./app.db", "--once", "-p", "shop")
    document = json.loads(run("status", "--json").stdout)
    (listed,) = [it for it in document["projections"] if it["mirror"] is not None]
    assert (listed["name"], listed["lag_events"]) == ("shop", 0)
    assert listed["mirror"] == f"sqlite://{socket.gethostname()}{tmp_path / 'app.db'}"
    assert f"shop in {listed['mirror']}" in run("status").stdout


def listed(run: Run) -> list[str]:
    return [it["mirror"] for it in json.loads(run("status", "--json").stdout)["projections"] if it["mirror"]]


def test_a_mirror_is_forgotten_by_its_url_or_by_its_name(run: Run, shop: Writing, tmp_path: Path) -> None:
    for file in ("a.db", "b.db"):
        run("mirror", f"sqlite:///./{file}", "--once", "-p", "shop", "-p", "sales")
    assert len(listed(run)) == 4
    forgotten = run("mirror", "sqlite:///./a.db", "--forget")
    assert forgotten.returncode == 0, forgotten.stderr
    assert forgotten.stdout.count("its tables stay") == 2
    assert run("mirror", listed(run)[0], "--forget", "-p", "shop").returncode == 0
    (left,) = listed(run)
    assert left.endswith("b.db")
    assert f"listed: {left}" in one_line(run("mirror", "sqlite:///./a.db", "--forget"), 1)
    assert run("mirror", "sqlite:///./a.db", "--verify", "-p", "shop").returncode == 0


def test_the_mirrors_seen_last_are_listed_and_all_can_be_forgotten(run: Run, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("""
INSERT INTO mirrors.standings (target, projection, version, position, parked, worker, updated_at, seen_at, ended_at)
SELECT 'sqlite://host/' || i, 'shop', 1, 0, 0, 'host:1', now(), now() - i * interval '1 h', now()
FROM generate_series(1, 1000) AS i
""")
    names = listed(run)
    assert len(names) == LISTED_MAX
    assert set(names) == {f"sqlite://host/{i}" for i in range(1, LISTED_MAX + 1)}
    assert run("mirror", "sqlite://host/1000", "--forget").stdout.startswith("forgot shop in sqlite://host/1000")
    assert "no such mirror" in one_line(run("mirror", "sqlite://host/1000", "--forget"), 1)


def test_a_mirror_at_work_is_not_forgotten(run: Run, shop: Writing, database_url: str) -> None:
    run("mirror", "sqlite:///./app.db", "--once", "-p", "shop")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE mirrors.standings SET ended_at = NULL, seen_at = now()")
    assert "is at work" in one_line(run("mirror", "sqlite:///./app.db", "--forget"), 1)
    assert len(listed(run)) == 1


@pytest.mark.parametrize(
    ("arguments", "said", "exit_code"),
    [
        (["nonsense"], "the URL of a mirror is sqlite:///", MISUSE),
        (["mysql://user:secret@host:port/x"], "the URL of a mirror is sqlite:///", MISUSE),
        (["oracle://host/x"], "the URL of a mirror is sqlite:///", MISUSE),
        (["sqlite://"], "needs a file", MISUSE),
        (["sqlite://elsewhere/srv/app.db"], "a file on the machine elsewhere: run the command there", MISUSE),
        (["sqlite:///nowhere/app.db"], "there is no directory nowhere", MISUSE),
        (["mysql://user@127.0.0.1:1"], "the URL names no database", MISUSE),
        (["mysql://user:se@secret@127.0.0.1:1/x"], "write %40 for @", MISUSE),
        (["mysql://user:secret@127.0.0.1:1/x", "--once"], "mysql://user:***@127.0.0.1:1/x: Can't connect", 1),
        (["mysql://127.0.0.1:1/x?colour=red"], "has the option colour", MISUSE),
        (["mysql://127.0.0.1:1/x?connect_timeout=soon"], "has the option connect_timeout", MISUSE),
        (["mysql://127.0.0.1:1/x?charset=utf8&charset=utf8mb4"], "each once", MISUSE),
        (["mysql://127.0.0.1:1/x?ssl_ca=gone.pem"], "ssl_key of the URL names no file that TLS can use", MISUSE),
        (["mysql://127.0.0.1:1/x?ssl_cert=/dev/null"], "ssl_key of the URL names no file that TLS can use", MISUSE),
        (["sqlite:///app.db?mode=ro"], "has no options", MISUSE),
        (["mysql://127.0.0.1:1/x?user=u&password=secret", "--once"], "mysql://127.0.0.1:1/x?user=u: Can't", 1),
        (["postgresql://user:secret@127.0.0.1:1/x", "--once"], "postgresql://user:***@127.0.0.1:1/x: connection", 1),
        (["postgresql://user:secret@127.0.0.1/x?port=1,2"], "could not match 2 port numbers to 1 hosts", MISUSE),
        (["sqlite:////proc/app.db", "--once"], "unable to open database file: name a file that this user may write", 1),
        (["sqlite:////tmp", "--once"], "unable to open database file: name a file that this user may write", 1),
        ([f"sqlite:///{__file__}", "--once"], "it is no SQLite database; name another file", 1),
        (
            ["postgresql://u@127.0.0.1:1/x?options=-c%20a.b%3D1", "--once"],
            "?options=-c%20a.b%3D1: connection failed",
            1,
        ),
        (["sqlite:///app.db", "--once", "--verify"], "exclude each other", MISUSE),
        (["sqlite:///app.db", "--forget"], "no such mirror is listed; listed: none", 1),
        (["sqlite:///app.db", "--verify"], "has no tables of shop", MISUSE),
        (["sqlite:///app.db", "-p", "shops"], "there is no projection 'shops'", MISUSE),
    ],
)
def test_a_mistake_of_an_operator_is_one_line(run: Run, arguments: list[str], said: str, exit_code: int) -> None:
    line = one_line(run("mirror", *arguments), exit_code)
    assert said in line
    assert "secret" not in line


@pytest.mark.parametrize("url", ["sqlite:///./app.db", "mysql://user:secret@host/app", "mysql+pymysql://host/app"])
def test_a_service_on_sqlite_or_mysql_is_pointed_to_mirrors(run: Run, url: str) -> None:
    line = one_line(run("migrate", DATABASE_URL=url), MISUSE)
    assert "DATABASE_URL: must start with postgresql://" in line
    assert "run `orders mirror URL`" in line
    assert "secret" not in line


def test_options_in_the_url_of_a_mirror_reach_its_server(run: Run, database_url: str, empty_database_url: str) -> None:
    """With a blank, which libpq reads as %20 alone."""
    options = "&options=-c%20synchronous_commit%3Doff%20-c%20work_mem%3D8MB"
    done = run("mirror", f"{empty_database_url}{options}", "--once")
    assert done.returncode == 0
    assert "options=-c%20synchronous_commit%3Doff%20-c%20work_mem%3D8MB" in done.stdout


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
def test_a_port_that_never_answers_is_found_out_within_seconds(run: Run, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        line = one_line(run("mirror", f"{kind}://user@127.0.0.1:{silent.getsockname()[1]}/app", "--once"), 1)
    assert "imeout expired" in line or "timed out" in line
    assert "check the URL of the mirror, and that the server runs" in line
    assert time.monotonic() - began < 15


def test_a_disk_without_room_for_a_mirror_in_sqlite_is_named(shop: Writing, database_url: str, tmp_path: Path) -> None:
    command = f"ulimit -f 8; {sys.executable} -P -m service.cli mirror sqlite:///./app.db --once"
    environment = SURROUNDINGS | {"DATABASE_URL": database_url, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "error: make room on the disk, or name a file that" in one_line(done, 1)
