"""After SIGTERM a process answers what it accepted, rejects the rest, and ends in time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from tests import loopback
from tests.builders import wait_until
from tests.system.freezing import frozen
from tests.system.slow import SlowClient
from tests.system.stack import Stack, free_port

ENDS_WITHIN_SECONDS = 10
CLIENTS = 8
DELAY_SECONDS = 4
BODY_TO_COME = b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, workers=0) as stack:
        yield stack


def test_the_log_has_the_acknowledged_commands_and_no_others(stack: Stack) -> None:
    (url,) = stack.urls
    answered: list[int] = []
    unanswered: list[str] = []

    def client(name: int) -> None:
        with loopback.Client(base_url=url, timeout=20) as shop:
            for number in range(100_000):
                email = f"u{name}-{number}@example.org"
                try:
                    answer = shop.post("/users", json={"name": "Ada", "email": email})
                except httpx.TransportError:
                    unanswered.append(email)
                    return
                answered.append(answer.status_code)
                if answer.status_code != 201:
                    assert answer.headers["retry-after"]
                    return

    threads = [threading.Thread(target=client, args=(name,)) for name in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    stack.apis[0].terminate()
    began = time.monotonic()
    code = stack.apis[0].wait()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < ENDS_WITHIN_SECONDS
    assert code in {0, -15}, stack.apis[0].log
    assert set(answered) <= {201, 503}
    ((registered,),) = stack.rows("SELECT count(*) FROM log.events")
    assert registered == answered.count(201) > 0
    claimed = {str(claim) for (claim,) in stack.rows("SELECT claim FROM log.claims")}
    assert not claimed & {f"email:{email}" for email in unanswered}
    assert "Traceback" not in stack.apis[0].log


@pytest.mark.parametrize("processes", [1, 2])
def test_a_load_balancer_sees_that_it_stops_before_the_port_closes(tmp_path: Path, processes: int) -> None:
    with Stack(tmp_path, apis=0, environment={"SHUTDOWN_DELAY": str(DELAY_SECONDS)}) as stack:
        port = free_port()
        api = stack.service("api", "serve", "--port", str(port), "--processes", str(processes))
        stack.apis.append(api)
        api.start()
        url = f"http://127.0.0.1:{port}"

        def readiness() -> tuple[int, set[str]] | None:
            """Status and reasons; None without an answer."""
            with suppress(httpx.TransportError):
                answer = loopback.get(f"{url}/readyz", timeout=5)
                return answer.status_code, set(answer.json()["not_ready"])
            return None

        wait_until(lambda: readiness() == (200, set()), 60, "it is ready")
        api.terminate()
        began = time.monotonic()
        wait_until(lambda: readiness() == (503, {"stopping"}), 2, "it says that it stops")
        registered = 0
        while time.monotonic() - began < DELAY_SECONDS - 1:
            assert readiness() == (503, {"stopping"})
            user = {"name": "Ada", "email": f"ada{registered}@example.org"}
            assert loopback.post(f"{url}/users", json=user).status_code == 201
            registered += 1
            if registered == 1:
                api.terminate()  # asked twice is asked once
            time.sleep(0.1)  # a steady client, as fast as a shop
        assert api.wait() in {0, -15}, api.log
        assert DELAY_SECONDS - 0.1 < time.monotonic() - began < DELAY_SECONDS + ENDS_WITHIN_SECONDS
        assert readiness() is None
        assert stack.rows("SELECT count(*) FROM log.events") == [(registered,)]
        assert "Traceback" not in api.log


def test_slow_clients_and_a_frozen_database_do_not_delay_the_end(stack: Stack) -> None:
    (url,) = stack.urls
    assert loopback.get(f"{url}/users").status_code == 200
    told: list[httpx.Response] = []

    # Made before the clock runs: a client takes some time to be made, and must connect before the API ends.
    http = loopback.Client(base_url=url, timeout=20)

    def ask(method: str, path: str, headers: dict[str, str], json: object = None) -> None:
        told.append(http.request(method, path, headers=headers, json=json))

    waiting = {"Sync-Token": "1000000", "Prefer": "wait=30"}
    user = {"name": "Ada", "email": "ada@example.org"}
    asked = [
        threading.Thread(target=ask, args=("POST", "/users", {"Idempotency-Key": "one"}, user)),
        threading.Thread(target=ask, args=("GET", "/users", {})),
        threading.Thread(target=ask, args=("GET", "/users", waiting)),
    ]
    with ExitStack() as closes:
        closes.enter_context(http)
        clients = [closes.enter_context(closing(SlowClient(url))) for _ in range(20)]
        for client in clients[:10]:
            client.send(b"GET /users HTT")
        for client in clients[10:]:
            client.send(BODY_TO_COME)
        asked[2].start()
        time.sleep(0.5)
        with frozen(stack.postgres.pid):
            for thread in asked[:2]:
                thread.start()
            time.sleep(0.5)
            stack.apis[0].terminate()
            began = time.monotonic()
            stack.apis[0].wait()
            took = time.monotonic() - began
        for thread in asked:
            thread.join()
    assert took < ENDS_WITHIN_SECONDS, stack.apis[0].log
    assert [answer.status_code for answer in told] == [503] * 3
    assert all(answer.headers["retry-after"] for answer in told)
    assert stack.rows("SELECT count(*) FROM log.events") == [(0,)]


@contextmanager
def locked(stack: Stack) -> Iterator[None]:
    """Nobody gets at the users."""
    with psycopg.connect(stack.database_url) as holder:
        holder.execute("LOCK TABLE shop.users")
        yield


@contextmanager
def not_answering(stack: Stack) -> Iterator[None]:
    with frozen(stack.postgres.pid):
        yield


@pytest.mark.parametrize("trouble", [locked, not_answering])
def test_a_worker_stops_in_the_middle_of_its_work_and_the_next_one_goes_on(
    tmp_path: Path, trouble: Callable[[Stack], AbstractContextManager[None]]
) -> None:
    with Stack(tmp_path) as stack:
        (worker,) = stack.workers
        (url,) = stack.urls

        def register(name: str) -> int:
            answer = loopback.post(f"{url}/users", json={"name": name, "email": f"{name}@example.org"}, timeout=20)
            return answer.status_code

        assert register("ada") == 201  # the bell rings, and the worker projects
        stack.wait_until_caught_up()
        with trouble(stack):
            register("bob")
            began = time.monotonic()
            worker.terminate()
            code = worker.wait()
            took = time.monotonic() - began
        assert took < ENDS_WITHIN_SECONDS
        assert code == 0, worker.log
        assert "Traceback" not in worker.log
        assert register("eve") == 201
        assert stack.lag() > 0
        worker.start()
        stack.wait_until_caught_up()
        assert stack.run("verify").returncode == 0
