"""A pooler gives each session a connection to PostgreSQL of its own until it ends, or every part refuses to start."""

import asyncio
import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from database.sessions import Unsuitable, connect, connect_async
from eventlog import connecting, stalled
from tests.builders import wait_until
from tests.command_line import run_here
from tests.database.pooler import pooler
from tests.projecting import sweep
from tests.served import NO_REDIS, served

SECONDS_MAX = 10
REFUSED = (
    "a pooler gives this session another connection to PostgreSQL for each transaction: use a pooler in session mode"
)
COMMANDS = [
    "serve --no-auth",
    "work",
    "migrate",
    "replay",
    "verify",
    "doctor",
    "status",
    "events",
    "audit",
    "imports",
    "parked",
    "jobs",
    "keys list",
    "keys create --name shop --role staff",
    "import tests/fixtures/shop",
    "mirror sqlite:///app.db",
    "explain order-01a203bc-773b-728e-8ef9-4d67e659c012",
]

Run = Callable[[str, dict[str, str]], subprocess.CompletedProcess[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """An `orders` command from the command line to the exit code, in this process."""

    def run(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        arguments = command.replace("tests/", f"{Path(__file__).parents[1]}/").split()
        variables = {**environment, "REDIS_URL": NO_REDIS}
        return run_here(arguments, variables, monkeypatch, capsys, tmp_path)

    return run


@pytest.mark.parametrize("settings", [{}, {"default_pool_size": 1}, {"server_round_robin": 1}], ids=str)
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_session_that_does_not_keep_its_connection_is_refused(
    mode: str, settings: dict[str, int], database_url: str, tmp_path: Path
) -> None:
    with pooler(database_url, mode, tmp_path, **settings) as url:
        with pytest.raises(Unsuitable, match=REFUSED):
            connect(url, "test")
        with pytest.raises(Unsuitable, match=REFUSED):
            asyncio.run(connect_async(url, "test", seconds_max=SECONDS_MAX))


def test_it_is_refused_too_when_the_pooler_has_several_connections(database_url: str, tmp_path: Path) -> None:
    """As many as other sessions have had transactions open at once."""
    with pooler(database_url, "transaction", tmp_path, server_round_robin=1) as url:
        others = [psycopg.connect(url, autocommit=True) for _ in range(4)]
        for other in others:
            other.execute("BEGIN")
        for other in others:
            other.execute("COMMIT")
        with pytest.raises(Unsuitable, match=REFUSED):
            connect(url, "test")
        for other in others:
            other.close()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_so_in_one_line(command: str, database_url: str, tmp_path: Path, run: Run) -> None:
    with pooler(database_url, "transaction", tmp_path) as url:
        done = run(command, {"DATABASE_URL": url})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"orders: {REFUSED}")


def test_the_api_refuses_it_for_reads_as_well(database_url: str, tmp_path: Path, run: Run) -> None:
    environment = {"DATABASE_URL": database_url, "ALLOW_UNSAFE_DATABASE": "1"}
    with pooler(database_url, "transaction", tmp_path) as url:
        done = run("serve --no-auth", environment | {"QUERY_DATABASE_URL": url})
    assert done.returncode == 1
    assert done.stderr.startswith(f"orders: QUERY_DATABASE_URL: {REFUSED}")


@pytest.mark.parametrize("option", ["", "--once"])
def test_a_mirror_refuses_it_for_its_own_database(
    option: str, database_url: str, empty_database_url: str, tmp_path: Path, run: Run
) -> None:
    with pooler(empty_database_url, "transaction", tmp_path) as url:
        done = run(f"mirror {option} {url}", {"DATABASE_URL": database_url})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert REFUSED in done.stderr


def test_everything_works_through_a_pooler_in_session_mode(database_url: str, tmp_path: Path, run: Run) -> None:
    with pooler(database_url, "session", tmp_path) as url:
        with served(url) as shop:
            product = shop.product(stock=5)
            orders = [shop.order((product, 1)) for _ in range(5)]
            assert shop.post(f"/orders/{orders[0]['id']}/cancel", json={}).status_code == 200
            sweep(url)
            for order in orders:
                assert shop.get(f"/orders/{order['id']}").status_code == 200
            assert shop.get("/readyz").status_code == 200
        for command in ("migrate", "replay", "verify", "status", "parked", "import tests/fixtures/shop --currency EUR"):
            done = run(command, {"DATABASE_URL": url})
            assert done.returncode == 0, done.stderr


def test_a_pooler_in_session_mode_without_a_free_connection_is_not_refused(database_url: str, tmp_path: Path) -> None:
    with pooler(database_url, "session", tmp_path, default_pool_size=1) as url, connect(url, "test") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_session_inherits_nothing_from_the_last_one_of_its_connection(database_url: str, tmp_path: Path) -> None:
    with pooler(database_url, "session", tmp_path, default_pool_size=1, server_reset_query="") as url:
        processes = set()
        for _ in range(2):
            with connect(url, "test") as connection:
                ((process, free),) = connection.execute(
                    "SELECT pg_backend_pid(), NOT EXISTS "
                    "(SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
                    prepare=True,
                ).fetchall()
                connection.execute("SELECT pg_advisory_lock(1)")
            assert free
            processes.add(process)
        assert len(processes) == 1


def test_a_writer_that_stops_behind_a_pooler_which_adds_addresses_to_names_loses_the_head(
    database_url: str, tmp_path: Path
) -> None:
    """A session is ended by others of its name."""
    with (
        pooler(database_url, "session", tmp_path, application_name_add_host=1) as url,
        contextlib.closing(connect(url, "orders writer", autocommit=False)) as stopped,
    ):
        stopped.execute("SELECT FROM log.head FOR UPDATE")
        stopped.pgconn.send_query(b"COPY log.claims FROM STDIN")  # and goes no further

        def is_free() -> bool:
            asyncio.run(connected(url))
            with psycopg.connect(database_url) as other:
                return other.execute("SELECT FROM log.head FOR UPDATE SKIP LOCKED").rowcount == 1

        wait_until(is_free, stalled.SECONDS_MAX + SECONDS_MAX, "the head is free")


async def connected(url: str) -> None:
    await (await connecting.connect(url)).close()
