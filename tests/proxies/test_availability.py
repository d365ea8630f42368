"""A proxy serves clients while others send slowly, and while an API process is away."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import httpx
import pytest

from tests import loopback
from tests.builders import wait_until
from tests.proxies.conftest import Service
from tests.proxies.running import PROXIES, Texts, running
from tests.served import NO_REDIS
from tests.system.slow import SlowClient
from tests.system.stack import START_SECONDS_MAX, ServiceProcess, answers, free_port

HALF_A_HEAD = "POST /users HTTP/1.1\r\nHost: {host}\r\nContent-Type: appl"
BODY_TO_COME = (
    "POST /users HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
)
# Caddy keeps the connection of a slow body until its own time is over. The test shortens that time, but the API must
# still answer first, whose 10 seconds begin when Caddy has sent the request on: a busy machine takes seconds for that.
SHORTER: dict[str, Texts] = {"caddy": {"read_body 30s": "read_body 15s"}}
CLOSED_WITHIN_SECONDS = {"nginx": 14, "haproxy": 14, "caddy": 18, "varnish": 14}
SERVED_WITHIN_SECONDS = 5.0  # a slow sender holds its connection for 10; an idle machine needs a hundredth of a second
SENDERS = 10
UNREACHABLE_SECONDS_MAX = 8

# A second address of the API, where no server listens.
ONE_IS_AWAY = {
    "nginx": {"server 127.0.0.1:8000;": "server 127.0.0.1:{dead};\n    server 127.0.0.1:8000;"},
    "haproxy": {"server api1 127.0.0.1:8000": "server away 127.0.0.1:{dead}\n    server api1 127.0.0.1:8000"},
    "caddy": {"reverse_proxy {$API:127.0.0.1:8000}": "reverse_proxy 127.0.0.1:{dead} {$API:127.0.0.1:8000}"},
}


def proxies(
    stack: ExitStack, api_url: str, factory: pytest.TempPathFactory, changes: dict[str, Texts] | None = None
) -> dict[str, str]:
    """Start all of them; returns their URLs by name."""
    return {
        name: stack.enter_context(running(name, api_url, factory.mktemp(name), (changes or {}).get(name)))
        for name in PROXIES
    }


def register(client: httpx.Client, url: str) -> float:
    """Register a user; returns the seconds that it took."""
    began = time.monotonic()
    made = client.post(f"{url}/users", json={"name": "Ada", "email": f"{uuid.uuid4()}@example.org"})
    assert made.status_code == 201, made.text
    return time.monotonic() - began


def waited(url: str) -> str:
    """The answer to a read that waits longer than a sender may take."""
    ahead = {"Sync-Token": "1000000", "Prefer": "wait=12"}
    return str(loopback.get(f"{url}/users", headers=ahead, timeout=30).json()["code"])


def test_slow_senders_are_cut_off_and_others_served_meanwhile(
    service: Service, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as pool, loopback.Client(timeout=20) as shop:
        urls = proxies(stack, service.url, tmp_path_factory, SHORTER)
        waiting = [pool.submit(waited, url) for url in urls.values()]
        slow: dict[str, list[SlowClient]] = {name: [] for name in urls}
        for name, url in urls.items():
            for request in (HALF_A_HEAD, BODY_TO_COME) * SENDERS:
                client = stack.enter_context(closing(SlowClient(url)))
                client.send(request.format(host=urlsplit(url).netloc).encode())
                slow[name].append(client)
        began = time.monotonic()
        slowest = 0.0
        still_open = {name: len(clients) for name, clients in slow.items()}
        while any(still_open.values()):
            passed = time.monotonic() - began
            for name, clients in slow.items():
                for client in clients:
                    client.look()
                still_open[name] = sum(not it.is_closed for it in clients)
                assert not still_open[name] or passed < CLOSED_WITHIN_SECONDS[name], (name, still_open[name])
            slowest = max([slowest, *(register(shop, url) for url in urls.values())])
            time.sleep(0.5)  # between two looks
        assert slowest < SERVED_WITHIN_SECONDS
        for name, clients in slow.items():
            for client in clients:
                assert not client.received.startswith(b"HTTP/1.1 2"), name
        assert [it.result() for it in waiting] == ["projection-behind"] * len(urls)


@pytest.mark.parametrize("name", ONE_IS_AWAY)
def test_requests_go_to_the_process_that_listens(
    service: Service, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    dead = str(free_port())
    changes = {old: new.replace("{dead}", dead) for old, new in ONE_IS_AWAY[name].items()}
    with running(name, service.url, tmp_path_factory.mktemp(name), changes) as url, loopback.Client(timeout=20) as shop:
        for _ in range(6):
            assert register(shop, url) < SERVED_WITHIN_SECONDS


def refused(url: str) -> float:
    """Send a command that must fail because no API listens; returns the seconds that it took."""
    began = time.monotonic()
    assert loopback.post(f"{url}/users", json={}, timeout=20).status_code in {502, 503, 504}
    return time.monotonic() - began


def test_a_proxy_answers_soon_without_an_api_and_finds_it_again(
    service: Service, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = {"DATABASE_URL": service.database_url, "REDIS_URL": NO_REDIS, "ALLOW_UNSAFE_DATABASE": "1"}
    port = free_port()
    api = ServiceProcess("late", ["serve", "--port", str(port)], environment, tmp_path_factory.mktemp("late"))
    with ExitStack() as stack, ThreadPoolExecutor() as pool, loopback.Client(timeout=20) as shop:
        urls = proxies(stack, f"http://127.0.0.1:{port}", tmp_path_factory)
        assert max(pool.map(refused, urls.values())) < UNREACHABLE_SECONDS_MAX
        stack.callback(api.stop)
        api.start()
        for name, url in urls.items():
            wait_until(lambda url=url: answers(f"{url}/healthz"), START_SECONDS_MAX, f"{name} finds the API")  # type: ignore[misc]
            register(shop, url)
