"""Caches in Python clients that obey Cache-Control: no read with a Sync-Token is stale, and no-store is not kept."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import requests
from hishel import SqliteStorage
from hishel.httpx import CacheTransport
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession

from tests.projecting import projected
from tests.served import Shop, served

Headers = Mapping[str, str]


class Cached(NamedTuple):
    """A client with a cache. `get` takes a path and headers; `wire` are the statuses that really came from the API."""

    get: Callable[[str, Headers], Any]
    wire: list[int]


class _Adapter(HTTPAdapter):
    """What requests sends through; it writes down the status of each answer."""

    def __init__(self, wire: list[int]) -> None:
        super().__init__()
        self.wire = wire

    def send(self, *given: Any, **more: Any) -> requests.Response:
        answer = super().send(*given, **more)
        self.wire.append(answer.status_code)
        return answer


class _Transport(httpx.HTTPTransport):
    """The same for httpx."""

    def __init__(self, wire: list[int]) -> None:
        super().__init__()
        self.wire = wire

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        self.wire.append(answer.status_code)
        return answer


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with projected(module_database_url), served(module_database_url) as shop:
        yield shop


@pytest.fixture(params=["requests-cache", "hishel"])
def cached(request: pytest.FixtureRequest, shop: Shop, tmp_path: Path) -> Iterator[Cached]:
    base, wire = str(shop.http.base_url).rstrip("/"), list[int]()
    if request.param == "requests-cache":
        with CachedSession(backend="memory", cache_control=True) as session:
            session.mount(base, _Adapter(wire))
            yield Cached(lambda path, headers: session.get(base + path, headers=dict(headers), timeout=30), wire)
    else:
        storage = SqliteStorage(database_path=tmp_path / "cache.db")
        transport = CacheTransport(_Transport(wire), storage, rfc={"shared": False})
        with httpx.Client(base_url=base, transport=transport, timeout=30) as client:
            yield Cached(lambda path, headers: client.get(path, headers=headers), wire)


def seen(answer: httpx.Response) -> Headers:
    return {"Sync-Token": answer.headers["sync-token"], "Prefer": "wait=20"}


def test_no_read_with_a_sync_token_is_stale(shop: Shop, cached: Cached) -> None:
    path = f"/products/{shop.product(stock=100)['id']}"
    for stock in range(101, 111):
        changed = shop.post(f"{path}/stock", json={"delta": 1, "reason": "counted"})
        for _ in range(2):
            read = cached.get(path, seen(changed))
            assert (read.status_code, read.json()["stock"]) == (200, stock)


def test_an_unchanged_resource_comes_as_304_and_is_shown_from_the_cache(shop: Shop, cached: Cached) -> None:
    made = shop.post("/users", json={"name": "Ada", "email": f"{shop.head()}@ada.example"})
    path = made.headers["location"]
    reads = [cached.get(path, seen(made)) for _ in range(3)]
    assert [(it.status_code, it.json()) for it in reads] == [(200, made.json())] * 3
    assert cached.wire == [200, 304, 304]


def test_a_list_is_asked_for_each_time(shop: Shop, cached: Cached) -> None:
    for _ in range(3):
        user = shop.post("/users", json={"name": "Ada", "email": f"{shop.head()}@caching.example"})
        listed = cached.get(f"/users?email={user.json()['email']}", seen(user))
        assert listed.json()["data"] == [user.json()]
        problem = cached.get("/users/7", {})
        assert problem.status_code == 404
    assert cached.wire == [200, 404] * 3
