"""Clients see the same API through each proxy as without one."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract.requests import BODY_BYTES_MAX
from tests.builders import wait_until
from tests.proxies.conftest import Service, patient
from tests.proxies.running import PROXIES, Texts, running
from tests.served import Shop, problem

COMPRESSING: dict[str, Texts] = {
    "nginx": {
        "    location / {": "    gzip on;\n    gzip_types application/json;\n    gzip_min_length 1;\n\n    location / {"
    },
    "haproxy": {
        "    bind": "    compression algo gzip\n    compression type application/json\n    bind",
    },
}


@pytest.fixture(scope="module", params=PROXIES)
def shop(request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    name = request.param
    with (
        running(name, service.url, tmp_path_factory.mktemp(name)) as url,
        patient(url) as client,
    ):
        yield Shop(client, service.database_url)


def body_of(size: int) -> bytes:
    """A good body of so many bytes: blanks between members count."""
    user = json.dumps({"name": "Ada", "email": f"{uuid.uuid4()}@example.org"}).encode()
    return user + b" " * (size - len(user))


def test_health_checks_pass(shop: Shop) -> None:
    assert shop.get("/healthz").status_code == 200
    ready = shop.get("/readyz")
    assert (ready.status_code, ready.headers["cache-control"]) == (200, "private, no-store")


def test_a_retried_order_is_placed_once_and_read_with_its_sync_token(shop: Shop) -> None:
    product, user = shop.product(), shop.user()
    order = {"user_id": user["id"], "items": [{"product_id": product["id"], "quantity": 3}]}
    key = {"Idempotency-Key": str(uuid.uuid4())}
    placed = shop.post("/orders", json=order, headers=key)
    again = shop.post("/orders", json=order, headers=key)
    assert (placed.status_code, again.status_code) == (201, 201)
    assert (placed.content, placed.headers["location"]) == (again.content, again.headers["location"])
    assert again.headers["idempotency-replayed"] == "true"
    assert shop.stock(product) == 7
    read = shop.get(placed.headers["location"], headers={"Sync-Token": placed.headers["sync-token"]})
    assert (read.status_code, read.json()) == (200, placed.json())
    assert int(read.headers["sync-token"]) >= int(placed.headers["sync-token"])


def test_a_read_answers_304_and_a_stale_write_412(shop: Shop) -> None:
    made = shop.post("/users", json={"name": "Ada", "email": f"{uuid.uuid4()}@example.org"})
    path, seen = made.headers["location"], {"Sync-Token": made.headers["sync-token"]}
    tag = shop.get(path, headers=seen).headers["etag"]
    unchanged = shop.get(path, headers=seen | {"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", tag)
    assert unchanged.headers["cache-control"] == "private, no-cache"
    assert shop.get(path, headers=seen | {"If-None-Match": '"2"'}).status_code == 200
    stale = shop.delete(path, headers={"If-Match": '"7"'})
    assert problem(stale) == (412, "version-mismatch")
    deleted = shop.delete(path, headers={"If-Match": '"1"'})
    assert (deleted.status_code, deleted.content) == (204, b"")
    gone = shop.get(path, headers={"Sync-Token": deleted.headers["sync-token"]})
    assert problem(gone) == (410, "gone")
    head = shop.http.head("/products")
    assert (head.status_code, head.content, head.headers["content-type"]) == (200, b"", "application/json")


def test_next_leads_from_page_to_page(shop: Shop) -> None:
    made = [shop.user() for _ in range(5)]
    token = {"Sync-Token": str(shop.head())}
    answer = shop.get("/users?limit=2", headers=token)
    found = answer.json()["data"]
    for _ in range(2):
        cursor = answer.json()["next"]
        (link,) = answer.links.values()
        assert httpx.URL(link["url"]).params["cursor"] == cursor
        answer = shop.get(link["url"], headers=token)
        assert answer.json() == shop.get("/users", params={"limit": 2, "cursor": cursor}, headers=token).json()
        found += answer.json()["data"]
    assert [user["id"] for user in found[:5]] == [user["id"] for user in reversed(made)]
    # Characters that a proxy might write differently.
    filtered = shop.get("/products?price[gte]=1.00&price%5Blte%5D=9&sku=a%2Bb%20%2F%3F")
    assert (filtered.status_code, filtered.json()["data"]) == (200, [])
    assert problem(shop.get("/users?cursor=%00"))[0] == 400


def test_the_request_id_reaches_the_log_and_comes_back(shop: Shop) -> None:
    sent = str(uuid.uuid4())
    body = {"name": "Ada", "email": f"{sent}@example.org"}
    made = shop.post("/users", json=body, headers={"X-Request-Id": sent})
    assert made.headers["x-request-id"] == sent
    query = "SELECT metadata->>'request_id' FROM log.events WHERE stream = %s"
    assert shop.rows(query, f"user-{made.json()['id']}") == [(sent,)]
    assert shop.post("/users", json=body, headers={"X-Request-Id": sent}).headers["x-request-id"] == sent
    assert "command-id" in made.headers


def test_an_answer_is_whole_although_the_client_wants_a_part(shop: Shop) -> None:
    path = f"/users/{shop.user()['id']}"
    whole = shop.get(path, headers={"Sync-Token": str(shop.head())})
    for part in ("bytes=0-9", "bytes=5-", "items=0-9"):
        answer = shop.get(path, headers={"Range": part})
        assert (answer.status_code, answer.content) == (200, whole.content)


def test_the_api_refuses_a_body_above_one_mebibyte(shop: Shop) -> None:
    kind = {"Content-Type": "application/json"}

    def in_chunks(body: bytes) -> Iterator[bytes]:
        yield from (body[at : at + 65536] for at in range(0, len(body), 65536))

    assert shop.post("/users", content=body_of(BODY_BYTES_MAX), headers=kind).status_code == 201
    assert shop.post("/users", content=in_chunks(body_of(BODY_BYTES_MAX)), headers=kind).status_code == 201
    too_large = body_of(BODY_BYTES_MAX + 1)
    assert problem(shop.post("/users", content=too_large, headers=kind)) == (413, "body-too-large")
    assert problem(shop.post("/users", content=in_chunks(too_large), headers=kind)) == (413, "body-too-large")


def test_problems_of_the_api_arrive_unchanged(shop: Shop) -> None:
    order = f"/orders/{uuid.uuid4()}"
    assert problem(shop.get("/nowhere")) == (404, "not-found")
    wrong_method = shop.put(order, json={})
    assert problem(wrong_method) == (405, "method-not-allowed")
    assert wrong_method.headers["allow"] == "GET, HEAD"
    assert problem(shop.http.request("PROPFIND", order))[0] == 405
    assert problem(shop.post("/users", content=b"name=Ada", headers={"Content-Type": "text/plain"}))[0] == 415
    compressed = shop.post("/users", content=b"x", headers={"Content-Encoding": "gzip"})
    assert (problem(compressed)[0], compressed.headers["accept-encoding"]) == (415, "identity")
    assert problem(shop.post("/users", json={}))[0] == 422
    assert problem(shop.http.request("GET", "/orders", json={"status": "placed"})) == (400, "malformed-request")
    behind = shop.get("/users", headers={"Sync-Token": "1000000000", "Prefer": "wait=0"})
    assert problem(behind) == (503, "projection-behind")


def test_forwarded_headers_change_no_answer(shop: Shop) -> None:
    forged = {
        "Forwarded": "for=192.0.2.1;host=evil.example;proto=https",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil",
    }
    made = shop.post("/users", json={"name": "Ada", "email": f"{uuid.uuid4()}@example.org"}, headers=forged)
    assert made.headers["location"] == f"/users/{made.json()['id']}"
    assert shop.get("/openapi.json", headers=forged).json() == shop.get("/openapi.json").json()
    assert shop.get("/nowhere", headers=forged).json()["type"] == "/problems/not-found"


def test_problem_types_and_the_reference_are_served(shop: Shop) -> None:
    kind = shop.get("/nowhere").json()["type"]
    assert shop.get(kind).json()["type"] == kind
    assert shop.get("/docs").headers["content-security-policy"]
    assert shop.get("/openapi.json").json()["openapi"].startswith("3.1")


@pytest.mark.parametrize("name", COMPRESSING)
def test_the_version_of_a_compressed_answer_can_be_sent_back(service: Service, tmp_path: Path, name: str) -> None:
    user = {"name": "Ada", "email": f"{uuid.uuid4()}@example.org"}
    with running(name, service.url, tmp_path, COMPRESSING[name]) as url, patient(url) as client:
        made = client.post("/users", json=user)
        path, seen = made.headers["location"], {"Sync-Token": made.headers["sync-token"]}
        read = client.get(path, headers=seen)
        assert read.headers["content-encoding"] == "gzip"
        assert client.get(path, headers={"If-None-Match": read.headers["etag"]}).status_code == 304
        changed = client.put(path, json=user | {"name": "Grace"}, headers={"If-Match": read.headers["etag"]})
        assert (changed.status_code, changed.json()["version"]) == (200, 2)
        stale = client.put(path, json=user, headers={"If-Match": read.headers["etag"]})
        assert problem(stale) == (412, "version-mismatch")


@pytest.mark.skipif(shutil.which("curl") is None and not os.environ.get("CI"), reason="curl speaks HTTP/2")
def test_caddy_ends_tls_and_http_2_and_offers_no_http_3(service: Service, tmp_path: Path) -> None:
    # Nothing else listens, and the machine does not trust the certificate afterwards.
    alone = {"\tadmin {": "\tauto_https disable_redirects\n\tskip_install_trust\n\tadmin {"}
    with running("caddy", service.url, tmp_path, alone, scheme="https") as url:
        authority = tmp_path / ".local/share/caddy/pki/authorities/local/root.crt"
        wait_until(authority.exists, 20, "Caddy has an authority of its own")
        asked = ["curl", "--silent", "--show-error", "--http2", "--cacert", str(authority)]
        # Caddy listens before it has made its certificate.
        asked += ["--retry", "20", "--retry-delay", "1", "--retry-all-errors"]
        asked += ["--header", "Content-Type: application/json", "--data", json.dumps({"name": "Ada"})]
        asked += ["--write-out", "\n%{http_version} %{http_code}%header{alt-svc}", f"{url}/users"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True)
        with socket.socket(type=socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", int(url.rpartition(":")[2])))
    answer, _, how = done.stdout.rpartition("\n")
    assert (how, json.loads(answer)["code"]) == ("2 422", "validation-error")


@pytest.mark.skipif(
    shutil.which("openssl") is None and not os.environ.get("CI"), reason="openssl makes the certificate"
)
def test_haproxy_ends_tls(service: Service, tmp_path: Path) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "authority.pem"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_text((tmp_path / "authority.pem").read_text() + (tmp_path / "key.pem").read_text())
    context = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    secure = {"bind :80\n": f"bind :80 ssl crt {both}\n"}
    with (
        running("haproxy", service.url, tmp_path, secure, scheme="https") as url,
        httpx.Client(base_url=url, verify=context, headers={"Prefer": "wait=20"}, timeout=30) as client,
    ):
        wait_until(lambda: client.get("/healthz").status_code == 200, 20, "HAProxy finds the API")
        made_user = client.post("/users", json={"name": "Ada", "email": f"{uuid.uuid4()}@example.org"})
        assert made_user.status_code == 201
        seen = {"Sync-Token": made_user.headers["sync-token"]}
        assert client.get(made_user.headers["location"], headers=seen).json() == made_user.json()
