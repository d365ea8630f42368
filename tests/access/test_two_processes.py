"""Two API processes on one database under load: what one of them changes about a key soon holds in the other too."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple, Self

import pytest

from tests import loopback
from tests.access.keyed import bearing, new_key
from tests.builders import wait_until
from tests.served import NO_REDIS
from tests.system.stack import START_SECONDS_MAX, ServiceProcess, answers, free_port

PROMISED_SECONDS = 2.0
CLIENTS = 4  # of each process


class Answered(NamedTuple):
    """When a request was sent, and its status."""

    sent: float
    status: int


class Load:
    """Clients that read with one key until the test stops them."""

    def __init__(self, urls: Sequence[str], key: str) -> None:
        self.answers: dict[str, list[Answered]] = {url: [] for url in urls}
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(url, key)) for url in urls for _ in range(CLIENTS)]

    def _read(self, url: str, key: str) -> None:
        with loopback.Client(base_url=url, headers=bearing(key), timeout=30) as client:
            while not self._stopping.wait(0.01):
                sent = time.monotonic()
                self.answers[url].append(Answered(sent, client.get("/products?limit=1").status_code))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)


@pytest.fixture(scope="module")
def urls(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    environment = {
        "DATABASE_URL": module_database_url,
        "REDIS_URL": NO_REDIS,
        "ALLOW_UNSAFE_DATABASE": "1",
        "NO_AUTH": "",
        "READS_PER_MINUTE": "0",
        "FAILURES_PER_MINUTE": "0",
    }
    ports = [free_port() for _ in range(2)]
    with ExitStack() as stack:
        for port in ports:
            name = f"api-{port}"
            process = ServiceProcess(name, ["serve", "--port", str(port)], environment, tmp_path_factory.mktemp(name))
            stack.callback(process.stop)
            process.start()
        found = [f"http://127.0.0.1:{port}" for port in ports]
        for url in found:
            wait_until(lambda url=url: answers(f"{url}/healthz"), START_SECONDS_MAX, "an API that answers")  # type: ignore[misc]
        yield found


@pytest.fixture(scope="module")
def operator(module_database_url: str) -> dict[str, str]:
    return bearing(new_key(module_database_url, "operator"))


def made(url: str, operator: dict[str, str]) -> dict[str, str]:
    key: dict[str, str] = loopback.post(f"{url}/keys", json={"name": "till", "role": "staff"}, headers=operator).json()
    return key


def test_a_revoked_key_is_refused_everywhere_in_the_promised_time(urls: list[str], operator: dict[str, str]) -> None:
    here, there = urls
    for _ in range(3):
        key = made(here, operator)
        with Load(urls, key["key"]) as load:
            time.sleep(1)
            loopback.delete(f"{here}/keys/{key['id']}", headers=operator).raise_for_status()
            revoked = time.monotonic()
            wait_until(lambda: load.answers[there][-1].status == 401, 10, "the other process refuses it")
            time.sleep(0.5)
        for url, within in ((here, 0.0), (there, PROMISED_SECONDS)):
            accepted = [it.sent for it in load.answers[url] if it.status == 200]
            assert len(accepted) > 20
            assert {it.status for it in load.answers[url]} == {200, 401}
            assert max(accepted) < revoked + within


def test_no_request_is_refused_while_a_key_and_its_successor_overlap(urls: list[str], operator: dict[str, str]) -> None:
    here, there = urls
    old = made(here, operator)
    with Load(urls, old["key"]) as load:
        time.sleep(0.5)
        rotated = loopback.post(f"{here}/keys/{old['id']}/rotate", json={"overlap_hours": 1}, headers=operator)
        new = rotated.raise_for_status().json()["key"]
        # Also by the process that has not read the new key yet.
        assert [loopback.get(f"{url}/products", headers=bearing(new)).status_code for url in (there, here)] == [
            200,
            200,
        ]
        with Load(urls, new) as newer:
            time.sleep(2.5)
    for answered in (*load.answers.values(), *newer.answers.values()):
        assert len(answered) > 20
        assert {it.status for it in answered} == {200}
