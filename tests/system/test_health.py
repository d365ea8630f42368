"""Whatever stops, on real processes: within 10 seconds /readyz and `orders status` say what, and why."""

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests import loopback
from tests.builders import wait_until
from tests.system.freezing import frozen
from tests.system.stack import Stack

VISIBLE_SECONDS_MAX = 10
WELL_SECONDS_MAX = 30
# Others need the processor.
POLL_SECONDS = 0.3
CLIENT = loopback.Client(timeout=VISIBLE_SECONDS_MAX)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with CLIENT, Stack(tmp_path_factory.mktemp("stack")) as stack:
        # `/readyz` misses a worker only some seconds after the tables were made.
        looked = "SELECT FROM shop.checkpoint WHERE worker IS NOT NULL"
        wait_until(lambda: bool(stack.rows(looked)), WELL_SECONDS_MAX, "a worker that has looked")
        yield stack


@pytest.fixture(autouse=True)
def well(stack: Stack) -> Iterator[None]:
    """After each test all is well again, without anybody's doing."""
    yield
    wait_until(lambda: ready(stack)["status"] == "ok", WELL_SECONDS_MAX, "all well again")


def ready(stack: Stack) -> dict[str, Any]:
    time.sleep(POLL_SECONDS)
    found: dict[str, Any] = CLIENT.get(f"{stack.urls[0]}/readyz").json()
    return found


def becomes_visible(stack: Stack, of: str, words: str) -> None:
    """The words are in what /readyz says of `not_ready` or `degraded`, within 10 s from now."""
    started = time.monotonic()
    wait_until(lambda: words in str(ready(stack)[of]), VISIBLE_SECONDS_MAX, f"{words!r} in {ready(stack)}")
    assert time.monotonic() - started < VISIBLE_SECONDS_MAX


def status(stack: Stack) -> str:
    done = stack.run("status", "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["projections"][0]["reason"]) + str(json.loads(done.stdout)["in_the_way"])


def test_a_worker_that_died_is_missed(stack: Stack) -> None:
    stack.workers[0].kill()
    becomes_visible(stack, "not_ready", "no worker has looked at the log for")
    assert "no worker has looked at the log for" in status(stack)
    stack.workers[0].start()


def test_a_worker_that_is_stuck_is_missed(stack: Stack) -> None:
    stack.workers[0].signal(signal.SIGSTOP)
    becomes_visible(stack, "not_ready", "no worker has looked at the log for")
    assert "no worker has looked at the log for" in status(stack)
    stack.workers[0].signal(signal.SIGCONT)


def test_without_redis_commands_and_reads_go_on_and_readyz_says_so(stack: Stack) -> None:
    stack.valkey.stop()
    becomes_visible(stack, "degraded", "Redis cannot be reached")
    url = stack.urls[0]
    made = CLIENT.post(f"{url}/users", json={"name": "Ada", "email": "ada@example.org"})
    assert made.status_code == 201
    token = {"Sync-Token": made.headers["sync-token"], "Prefer": "wait=5"}
    assert CLIENT.get(url + made.headers["location"], headers=token).status_code == 200
    answer = CLIENT.get(f"{url}/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    stack.valkey.start()


def test_readyz_reports_a_worker_that_cannot_reach_redis(stack: Stack) -> None:
    deaf = stack.service("deaf", "work", REDIS_URL="redis://127.0.0.1:1/0")
    stack.workers[0].stop()
    deaf.start()
    try:
        becomes_visible(stack, "degraded", "no worker listens to Redis")
        wait_until(lambda: not ready(stack)["not_ready"], WELL_SECONDS_MAX, "a worker that looks by itself")
    finally:
        deaf.stop()
        stack.workers[0].start()


@pytest.mark.parametrize("statement", ["LOCK TABLE shop.users", "SELECT FROM shop.checkpoint FOR UPDATE"])
def test_readyz_names_the_session_that_delays_the_projection(stack: Stack, statement: str, is_long: bool) -> None:
    if not is_long and statement.startswith("LOCK"):
        pytest.skip("one of two kinds will do: --long")
    with psycopg.connect(stack.database_url, application_name="psql of Ada") as holder:
        holder.execute(statement.encode())
        email = f"{len(statement)}@example.org"
        assert CLIENT.post(f"{stack.urls[0]}/users", json={"name": "Ada", "email": email}).status_code == 201
        becomes_visible(stack, "not_ready", f"PostgreSQL process {holder.info.backend_pid} (psql of Ada, idle in tra")
        assert "psql of Ada" in status(stack)


def test_readyz_reports_a_frozen_database_and_the_worker_goes_on_afterwards(stack: Stack) -> None:
    with frozen(stack.postgres.pid):
        becomes_visible(stack, "not_ready", "database")


def test_readyz_reports_a_killed_database(stack: Stack) -> None:
    stack.postgres.stop()
    becomes_visible(stack, "not_ready", "database")
    done = stack.run("status")
    assert done.returncode == 1
    assert done.stderr.startswith("orders: PostgreSQL: ")
    stack.postgres.start()
