"""A server that is set up to lose what it has acknowledged is refused at the start, unless that is allowed."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from service.embedded import PostgresServer
from service.errors import OperatorError
from service.settings import Settings
from service.starting import refuse_unsafe

NO_REDIS = "redis://127.0.0.1:1/0"
SECONDS_MAX = 60


def run(cwd: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "service.cli", *arguments],
        cwd=cwd,
        env={"PATH": os.defpath, **variables},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


@pytest.fixture(scope="module")
def durable_url() -> Iterator[str]:
    """A server as PostgreSQL sets itself up."""
    with tempfile.TemporaryDirectory() as place:
        # As root the server runs as another user, who must get through.
        Path(place).chmod(0o755)
        with PostgresServer(Path(place)) as server:
            yield server.url


def test_a_durable_server_is_taken(durable_url: str) -> None:
    refuse_unsafe(Settings(database_url=durable_url))


@pytest.mark.parametrize("scope", ["DATABASE orders", "ROLE orders"])
def test_commits_that_do_not_wait_are_refused_wherever_they_were_set(durable_url: str, scope: str) -> None:
    with psycopg.connect(durable_url, autocommit=True) as connection:
        connection.execute(f"ALTER {scope} SET synchronous_commit = off".encode())
        try:
            with pytest.raises(OperatorError, match="synchronous_commit off"):
                refuse_unsafe(Settings(database_url=durable_url))
        finally:
            connection.execute(f"ALTER {scope} RESET synchronous_commit".encode())


@pytest.mark.parametrize("level", ["local", "remote_write", "remote_apply"])
def test_commits_that_wait_for_the_disk_are_taken(durable_url: str, level: str) -> None:
    refuse_unsafe(Settings(database_url=f"{durable_url}&options=-csynchronous_commit%3D{level}"))


def test_the_durability_check_passes_a_server_that_it_cannot_reach() -> None:
    refuse_unsafe(Settings(database_url="postgresql://orders@127.0.0.1:1/orders"))


@pytest.mark.parametrize("command", ["serve", "work"])
def test_an_unsafe_server_is_refused_in_one_line_that_names_the_settings(
    command: str, database_url: str, tmp_path: Path
) -> None:
    done = run(tmp_path, command, DATABASE_URL=database_url, REDIS_URL=NO_REDIS)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("orders: the database is not durable (fsync, full_page_writes, synchronous_commit off): set")
    assert "ALLOW_UNSAFE_DATABASE=1" in line


def test_an_allowed_unsafe_setting_is_not_refused(database_url: str) -> None:
    refuse_unsafe(Settings(database_url=database_url, allow_unsafe_database=True))


def test_orders_up_refuses_a_server_that_was_made_unsafe(place: Path) -> None:
    with PostgresServer(place / "data") as server, psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    done = run(place, "up", "--data-dir", str(place / "data"), "--port", port)
    assert done.returncode == 1, done.stderr
    assert "orders: the database is not durable (fsync off): set fsync = on in PostgreSQL" in done.stderr
