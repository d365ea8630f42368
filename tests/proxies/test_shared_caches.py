"""A shared cache keeps public files only: no read is stale, and no client gets another client's answer."""

import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.proxies.conftest import Service, patient
from tests.proxies.running import Texts, running
from tests.served import Shop

# The file that we ship, and caches that know no more than Cache-Control.
CACHES: dict[str, tuple[str, Texts]] = {
    "varnish": ("varnish", {}),
    "varnish by its own rules": ("varnish", {"return (pass);": ""}),
    "nginx": (
        "nginx",
        {
            "upstream orders {": "proxy_cache_path cache keys_zone=shop:1m;\n\nupstream orders {",
            "proxy_pass http://orders;": "proxy_cache shop;\nadd_header X-Cache $upstream_cache_status;\nproxy_pass http://orders;",
        },
    ),
}


@pytest.fixture(scope="module", params=CACHES)
def shop(request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    name, changes = CACHES[request.param]
    with (
        running(name, service.url, tmp_path_factory.mktemp(name), changes) as url,
        patient(url) as client,
    ):
        yield Shop(client, service.database_url)


def test_no_read_with_a_sync_token_is_stale(shop: Shop) -> None:
    path = f"/products/{shop.product(stock=100)['id']}"
    for stock in range(101, 121):
        changed = shop.post(f"{path}/stock", json={"delta": 1, "reason": "counted"})
        read = shop.get(path, headers={"Sync-Token": changed.headers["sync-token"]})
        assert read.status_code == 200, read.text
        assert (read.json()["stock"], read.json()["version"]) == (stock, changed.json()["version"])
        listed = shop.get(f"/products?sku={read.json()['sku']}", headers={"Sync-Token": changed.headers["sync-token"]})
        assert listed.json()["data"] == [read.json()]


@pytest.mark.parametrize("shop", ["varnish", "varnish by its own rules"], indirect=True)
def test_a_read_of_an_unchanged_resource_answers_304(shop: Shop) -> None:
    made = shop.post("/users", json={"name": "Ada", "email": f"{uuid.uuid4()}@example.org"})
    path, seen = made.headers["location"], {"Sync-Token": made.headers["sync-token"]}
    tag = shop.get(path, headers=seen).headers["etag"]
    for _ in range(3):
        unchanged = shop.get(path, headers=seen | {"If-None-Match": tag})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
    changed = shop.put(path, json={"name": "Grace", "email": made.json()["email"]})
    again = shop.get(path, headers={"Sync-Token": changed.headers["sync-token"], "If-None-Match": tag})
    assert (again.status_code, again.json()["name"]) == (200, "Grace")


def test_every_read_of_data_reaches_the_api(shop: Shop) -> None:
    order = f"/orders/{shop.order()['id']}"
    shop.get(order, headers={"Sync-Token": str(shop.head())})
    for path in (order, "/orders", "/users", "/events", f"{order}/events", "/readyz", "/metrics", "/nowhere", "/docs"):
        for _ in range(3):
            sent = str(uuid.uuid4())
            answer = shop.get(path, headers={"X-Request-Id": sent, "Authorization": f"Bearer {sent}"})
            assert answer.headers["x-request-id"] == sent, path
            answer = shop.get(path, headers={"X-Request-Id": sent})
            assert answer.headers["x-request-id"] == sent, path


@pytest.mark.parametrize("shop", ["varnish", "nginx"], indirect=True)
def test_no_read_waits_for_another_one(shop: Shop) -> None:
    """One waits for its Sync-Token; the others ask for the same path without one."""
    path = f"/users?email={uuid.uuid4()}@example.org"
    ahead = {"Sync-Token": str(shop.head() + 1_000), "Prefer": "wait=1"}
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(shop.get, path, headers=ahead)
        time.sleep(0.3)  # until it waits in the API
        assert shop.get(path).json()["data"] == []
        assert not waiting.done()
        assert waiting.result().status_code == 503


def test_the_files_of_the_reference_are_kept_without_the_id_of_a_request(shop: Shop) -> None:
    (link, *_) = re.findall(r'src="(static/[^"]+)"', shop.get("/docs").text)
    first = shop.get(f"/{link}", headers={"X-Request-Id": "first"})
    again = shop.get(f"/{link}", headers={"X-Request-Id": "second"})
    # Varnish adds the id of the request that fetched the copy.
    assert again.headers.get("x-cache") == "HIT" or len(again.headers["x-varnish"].split()) == 2
    assert first.content == again.content
    assert not any("x-request-id" in answer.headers for answer in (first, again))
