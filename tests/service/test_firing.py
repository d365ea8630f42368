"""Each alert of deploy/prometheus goes off in a real Prometheus when its fault is caused in a real service.

The rules are those of deploy/, with seconds for minutes and lower limits of age. OF_DISKS are not here: their
figures are those of the node exporter.
"""

import contextlib
import itertools
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest

from tests import loopback
from tests.builders import append_parked_user, wait_until
from tests.service.prometheus import DEPLOY, PROMETHEUS, prometheus
from tests.service.test_alerts import ALERTS
from tests.system.stack import Stack, free_port
from tests.system.test_mirrors import MirrorProcess

AGE_SECONDS = 5
FIRES_WITHIN_SECONDS = 60
OF_DISKS = {"OrdersDiskFull", "OrdersDiskDaysLeft"}

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def worker_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, worker_port: int) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("firing"), environment={"METRICS_PORT": str(worker_port)}) as stack:
        yield stack


def hurried(rules: str) -> str:
    """The rules with seconds for minutes, minutes for hours, and ages of a few seconds."""
    rules = re.sub(r"(?<=for: )(\d+)m\b|(?<=\[)(\d+)m(?=\])", lambda it: f"{it[1] or it[2]}s", rules)
    rules = rules.replace("[1h]", "[1m]")
    return re.sub(r"> (30|60|600)$", f"> {AGE_SECONDS}", rules, flags=re.MULTILINE)


class Alerting:
    """The alerts of a Prometheus. `seen` are those that a test has waited for."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.seen: set[str] = set()

    def firing(self) -> set[str]:
        answer = loopback.get(f"{self._url}/api/v1/alerts", timeout=10).json()
        return {it["labels"]["alertname"] for it in answer["data"]["alerts"] if it["state"] == "firing"}

    def wait_for(self, *names: str, meanwhile: Callable[[], object] = lambda: time.sleep(0.2)) -> None:
        """Wait until the alerts fire. Call `meanwhile` between two looks, so that their causes go on."""
        until = time.monotonic() + FIRES_WITHIN_SECONDS
        while left := set(names) - self.firing():
            assert time.monotonic() < until, f"{left} did not go off"
            meanwhile()
        self.seen.update(names)

    def wait_until_quiet(self, meanwhile: Callable[[], object]) -> None:
        """Wait until no page goes off."""
        until = time.monotonic() + FIRES_WITHIN_SECONDS
        while left := {it for it in self.firing() if ALERTS[it]["labels"]["severity"] == "page"}:
            assert time.monotonic() < until, f"{left} still go off"
            meanwhile()
            time.sleep(0.2)

    def wait_until_up(self) -> None:
        """Wait until Prometheus has scraped both processes."""
        until = time.monotonic() + FIRES_WITHIN_SECONDS
        found: list[object] = []
        while len(found) < 2:
            assert time.monotonic() < until
            time.sleep(0.2)
            with contextlib.suppress(httpx.TransportError, ValueError):
                answer = loopback.get(f"{self._url}/api/v1/query", params={"query": "up == 1"}, timeout=10).json()
                found = answer["data"]["result"]


def register(stack: Stack) -> None:
    """Send a command, whatever its answer."""
    body = {"name": "Ada", "email": f"ada{next(_numbers)}@example.org"}
    loopback.post(f"{stack.urls[0]}/users", json=body, timeout=30)


@contextlib.contextmanager
def held(stack: Stack, statement: str) -> Iterator[None]:
    """A session whose transaction has executed the statement, and stays open."""
    with psycopg.connect(stack.database_url) as connection:
        connection.execute(statement.encode())
        yield
        connection.rollback()


def delay_the_worker(stack: Stack) -> None:
    stack.workers[0].signal(signal.SIGSTOP)
    register(stack)
    time.sleep(1.5)  # the event becomes visible only after this
    stack.workers[0].signal(signal.SIGCONT)
    time.sleep(0.5)  # time to catch up


def fill_the_queue(stack: Stack) -> None:
    senders = [threading.Thread(target=register, args=(stack,)) for _ in range(12)]
    with held(stack, "SELECT FROM log.head FOR UPDATE"):
        for sender in senders:
            sender.start()
            time.sleep(0.25)  # so that the oldest command waits while others arrive
    for sender in senders:
        sender.join()


def leave_for_the_morning(stack: Stack, place: Path) -> None:
    """A parked stream, a wrong row, a mirror that is slow and another one that was killed."""
    append_parked_user(stack.database_url)
    register(stack)
    stack.wait_until_caught_up()
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("UPDATE shop.users SET name = 'Eve'")
        connection.execute(
            "INSERT INTO mirrors.standings (target, projection, version, position, parked, worker, updated_at, seen_at)"
            " VALUES ('mysql://slow', 'shop', 1, 0, 0, 'w', now(), now())"
        )
    assert stack.run("verify").returncode == 1
    mirror = MirrorProcess(stack.database_url, f"sqlite:///{place / 'app.db'}", place / "mirror.log")
    mirror.start()
    wait_until(lambda: stack.rows("SELECT FROM mirrors.standings WHERE target LIKE 'sqlite%%'") != [], 30, "a mirror")
    mirror.kill()


def be_slow(stack: Stack) -> None:
    """Make the listed state of a mirror that runs, but does not keep up."""
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("UPDATE mirrors.standings SET seen_at = now() WHERE target = 'mysql://slow'")
    time.sleep(0.2)  # between two looks


@PROMETHEUS
def test_every_alert_goes_off_when_its_fault_is_caused(stack: Stack, worker_port: int, tmp_path: Path) -> None:
    api, worker = stack.apis[0], stack.workers[0]
    targets = {"orders-api": stack.urls[0].removeprefix("http://"), "orders-worker": f"127.0.0.1:{worker_port}"}
    command = partial(register, stack)
    with prometheus(tmp_path, targets, hurried((DEPLOY / "alerts.yml").read_text()), "none") as url:
        alerting = Alerting(url)
        alerting.wait_until_up()
        alerting.wait_until_quiet(command)  # nothing was scraped at first
        assert not alerting.firing()

        leave_for_the_morning(stack, tmp_path)
        tickets = ("OrdersStreamsParked", "OrdersVerifyDiffers", "OrdersMirrorStopped", "OrdersMirrorBehind")
        with held(stack, "SELECT txid_current()"):
            alerting.wait_for(*tickets, "OrdersOldTransaction", meanwhile=partial(be_slow, stack))
        alerting.wait_for("OrdersOverloaded", meanwhile=partial(fill_the_queue, stack))
        alerting.wait_for("OrdersVisibleSlow", meanwhile=partial(delay_the_worker, stack))
        stack.valkey.stop()
        alerting.wait_for("OrdersBellFails", meanwhile=command)
        stack.valkey.start()

        worker.kill()
        command()
        alerting.wait_for("OrdersWorkerGone", "OrdersProjectionBehind", "OrdersProjectionStuck")
        worker.start()
        alerting.wait_until_quiet(command)

        stack.postgres.stop()
        alerting.wait_for("OrdersDatabaseDown", "OrdersErrorBudgetBurn", "OrdersCommandsFail", meanwhile=command)
        stack.postgres.start()
        alerting.wait_until_quiet(command)

        api.kill()
        alerting.wait_for("OrdersApiDown")
    assert alerting.seen == ALERTS.keys() - OF_DISKS
