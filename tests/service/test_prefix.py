"""Behind a proxy that serves the API under a path, each path in an answer leads to its resource through the proxy."""

import re
from collections.abc import Iterator

import pytest

from service.http import connections
from service.settings import Settings
from tests.served import NO_REDIS, Shop, served, served_with


@pytest.fixture(scope="module", params=["/shop", "/orders"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shop(module_database_url: str, prefix: str) -> Iterator[Shop]:
    with served_with(_under(prefix, module_database_url)) as shop:
        yield shop


def _under(prefix: str, database_url: str) -> Settings:
    return Settings(
        database_url=database_url, redis_url=NO_REDIS, allow_unsafe_database=True, no_auth=True, root_path=prefix
    )


def through_the_proxy(shop: Shop, prefix: str, path: str) -> int:
    """The status of a request that the proxy hands on without the prefix."""
    assert path.startswith(f"{prefix}/")
    return shop.get(path.removeprefix(prefix)).status_code


def test_location_leads_to_the_new_resource(shop: Shop, prefix: str) -> None:
    user = {"name": "Ada", "email": f"ada{prefix[1:]}@example.org", "external_id": prefix}
    made = shop.post("/users", json=user)
    assert made.headers["location"] == f"{prefix}/users/{made.json()['id']}"
    assert through_the_proxy(shop, prefix, made.headers["location"] + "/events") == 200
    taken = shop.post("/users", json=user | {"email": f"bob{prefix[1:]}@example.org"})
    assert (taken.status_code, taken.headers["location"]) == (409, made.headers["location"])


def test_content_location_leads_to_the_version(shop: Shop, prefix: str) -> None:
    path = f"/users/{shop.user()['id']}?version=1"
    there = shop.get(path).headers["content-location"]
    assert there == prefix + path
    assert through_the_proxy(shop, prefix, there) == 200


def test_a_kept_answer_is_stored_without_the_prefix(shop: Shop, prefix: str) -> None:
    key, product = {"Idempotency-Key": f"k{prefix}"}, {"sku": f"T{prefix}", "name": "T", "price": 1, "currency": "EUR"}
    first = shop.post("/products", json=product, headers=key)
    again = shop.post("/products", json=product, headers=key)
    assert first.headers["location"] == again.headers["location"] == f"{prefix}/products/{first.json()['id']}"
    with served(shop.database_url) as moved:
        replayed = moved.post("/products", json=product, headers=key)
    assert replayed.headers["idempotency-replayed"] == "true"
    assert replayed.headers["location"] == f"/products/{first.json()['id']}"


def test_link_leads_to_the_next_page(shop: Shop, prefix: str) -> None:
    for _ in range(2):
        shop.user()
    answer = shop.get("/events?limit=1")
    (path,) = re.findall("<([^>]+)>", answer.headers["link"])
    assert through_the_proxy(shop, prefix, path) == 200


@pytest.mark.parametrize("path", ["/nowhere", "/users?x=1", "/users/1", "/users?" + "x" * 9_000])
def test_the_type_of_a_problem_leads_to_its_meaning(shop: Shop, prefix: str, path: str) -> None:
    kind = shop.get(path).json()["type"]
    assert through_the_proxy(shop, prefix, kind) == 200
    assert shop.get(kind.removeprefix(prefix)).json()["type"] == kind


def test_so_does_the_type_of_a_refusal(module_database_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUESTS_MAX", -1)
    for root in (prefix, ""):
        with served_with(_under(root, module_database_url)) as shop:
            for headers in ({}, {"Connection": "close"}):
                answer = shop.get("/users", headers=headers)
                assert answer.json()["type"] == f"{root}/problems/overloaded"


def test_the_reference_and_the_front_page_name_relative_paths_and_the_server(shop: Shop, prefix: str) -> None:
    assert shop.get("/openapi.json").json()["servers"] == [{"url": prefix}]
    links = re.findall(r'(?:src|href)="([^"]+)"', shop.get("/docs").text)
    front = shop.get("/").json()
    for link in [*links, front["docs"], front["openapi"], front["health"]]:
        assert not link.startswith("/")


def test_without_a_prefix_the_document_names_the_server_that_it_came_from(module_database_url: str) -> None:
    with served(module_database_url) as shop:
        assert shop.get("/openapi.json").json()["servers"] == [{"url": "/"}]
