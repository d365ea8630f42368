"""Proxy and API agree where each request ends, whatever its head announces or offers."""

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import product
from urllib.parse import urlsplit

import pytest

from tests.proxies.conftest import Service, patient
from tests.proxies.running import PROXIES, Texts, running
from tests.served import Shop
from tests.service.test_framing import UPGRADES, post
from tests.service.test_smuggling import JSON, OFFER, VARIANTS
from tests.system.slow import SlowClient

AT_ONCE = 16
ANSWER_SECONDS_MAX = 2
ANNOUNCED_BYTES = 200  # by the variants that announce a length

# The usual lines for websockets. The proxy then passes an offered upgrade on; the API declines it.
PASSING_UPGRADES_ON: dict[str, Texts] = {
    "nginx": {
        'proxy_set_header Connection "";': "proxy_set_header Upgrade $http_upgrade;\n"
        'proxy_set_header Connection "upgrade";'
    },
    "haproxy": {"http-request del-header Upgrade\n": "\n"},
    "caddy": {"header_up -Upgrade\n": "\n"},
    "varnish": {
        "unset req.http.Upgrade;": "if (req.http.Upgrade) { return (pipe); }",
        "sub vcl_recv {": "sub vcl_pipe {\n"
        "    set bereq.http.Upgrade = req.http.Upgrade;\n"
        "    set bereq.http.Connection = req.http.Connection;\n"
        "}\n\nsub vcl_recv {",
    },
}


@pytest.fixture(scope="module", params=product(PROXIES, (False, True)), ids=lambda it: f"{it[0]}{' upgrading' * it[1]}")
def shop(request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    name, upgrading = request.param
    place = tmp_path_factory.mktemp(name)
    with (
        running(name, service.url, place, PASSING_UPGRADES_ON[name] if upgrading else None) as url,
        patient(url) as client,
    ):
        yield Shop(client, service.database_url)


def statuses(shop: Shop, raw: bytes, enough: int = 2) -> list[int]:
    """The statuses of what is answered to these bytes; of `enough` answers and what follows them at once."""
    url = str(shop.http.base_url).rstrip("/")
    with closing(SlowClient(url)) as client:
        client.send(raw.replace(b"Host: x\r\n", f"Host: {urlsplit(url).netloc}\r\n".encode()))
        until = time.monotonic() + ANSWER_SECONDS_MAX
        while not client.is_closed and time.monotonic() < until:
            answered = client.received.count(b"HTTP/1.1 ")
            time.sleep(0.1 if answered >= enough else 0.02)  # between two looks; longer for an answer too many
            client.look()
            if answered >= enough:
                break
        return [int(part.split()[0]) for part in client.received.split(b"HTTP/1.1 ")[1:]]


def hiding(variant: str, offer: bytes, user_id: str) -> bytes:
    """A request whose body may be read as another request, which would delete the user."""
    announced, before = VARIANTS[variant]
    head = b"POST /users HTTP/1.1\r\nHost: x\r\n" + JSON + offer + announced + b"\r\n\r\n"
    hidden = f"DELETE /users/{user_id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    return head + (before + hidden).ljust(ANNOUNCED_BYTES, b"\n")


def test_no_request_is_executed_that_the_proxy_has_not_seen(shop: Shop) -> None:
    """RFC 9112 lets a proxy find a second request in some variants. The client then has two answers, in order."""
    cases = [(variant, offer, shop.user()["id"]) for variant, offer in product(VARIANTS, (b"", OFFER))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answered = list(pool.map(lambda case: statuses(shop, hiding(*case)), cases))
    query = "SELECT stream FROM log.events WHERE type = 'UserDeleted'"
    deleted = {stream.removeprefix("user-") for (stream,) in shop.rows(query)}
    for (variant, offer, user_id), found in zip(cases, answered, strict=True):
        first, *others = found or [0]
        assert not 200 <= first < 300, (variant, offer, found)
        assert others in ([204], [400], []), (variant, offer, found)
        assert (user_id in deleted) == (others == [204]), (variant, offer, found)


def test_a_body_beside_an_offered_upgrade_stays_whole(shop: Shop) -> None:
    cases = list(product(UPGRADES, (False, True)))

    def made(case: tuple[bytes, bool]) -> list[int]:
        body = json.dumps({"name": "Ada", "email": f"{uuid.uuid4()}@example.org"}).encode()
        return statuses(shop, post(body, *case), enough=1)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for case, found in zip(cases, pool.map(made, cases), strict=True):
            assert found == [201], case


def test_a_request_in_a_body_beside_an_offered_upgrade_is_a_body(shop: Shop) -> None:
    cases = [(upgrade, chunked, shop.user()["id"]) for upgrade, chunked in product(UPGRADES, (False, True))]

    def refused(case: tuple[bytes, bool, str]) -> list[int]:
        upgrade, chunked, user_id = case
        hidden = f"DELETE /users/{user_id} HTTP/1.1\r\nHost: y\r\n\r\n".encode()
        return statuses(shop, post(hidden, upgrade, chunked), enough=1)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for case, found in zip(cases, pool.map(refused, cases), strict=True):
            assert found == [400], case
            assert [kind for kind, _ in shop.events(f"/users/{case[2]}")] == ["UserRegistered"]


def test_a_request_without_a_host_or_with_two_is_refused(shop: Shop) -> None:
    for hosts in (b"", b"Host: x\r\nHost: y\r\n"):
        assert statuses(shop, b"GET /users HTTP/1.1\r\n" + hosts + b"\r\n", enough=1) == [400]


def test_a_body_that_its_client_breaks_off_cancels_nothing(shop: Shop) -> None:
    """Varnish sends the API what came of it, and then says that this is all."""
    parts = [b"", b"1\r\n{\r\n", b'22\r\n{"lines":[{"line":1,"quantity":1}]\r\n']
    paths = [f"/orders/{shop.order()['id']}" for _ in parts]
    url = str(shop.http.base_url).rstrip("/")
    for path, part in zip(paths, parts, strict=True):
        head = f"POST {path}/cancel HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n".encode() + JSON
        with closing(SlowClient(url)) as client:
            client.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + part)
            time.sleep(0.3)  # so that the proxy has sent all of it to the API
    time.sleep(0.5)  # until the API would have cancelled
    assert [kind for path in paths for kind, _ in shop.events(path)] == ["OrderPlaced"] * len(parts)


def test_a_body_that_came_empty_cancels_nothing(shop: Shop) -> None:
    """Python's requests sends a chunked one when it repeats a request with a file that it has read to the end."""
    path = f"/orders/{shop.order()['id']}"
    head = f"POST {path}/cancel HTTP/1.1\r\nHost: x\r\n".encode() + JSON
    assert statuses(shop, head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", enough=1) == [400]
    assert [kind for kind, _ in shop.events(path)] == ["OrderPlaced"]


def test_a_client_is_told_once_at_most_to_send_its_body(shop: Shop) -> None:
    """Java's HttpClient waits for ever when it gets two 100 Continue."""
    body = json.dumps({"name": "Ada", "email": f"{uuid.uuid4()}@example.org"}).encode()
    head = b"POST /users HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + JSON
    found = statuses(shop, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert found in ([100, 201], [201])


def test_a_delete_whose_body_its_client_breaks_off_deletes_nothing(shop: Shop) -> None:
    path, url = f"/users/{shop.user()['id']}", str(shop.http.base_url).rstrip("/")
    for part in (b"", b"{"):
        head = f"DELETE {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n".encode() + JSON
        with closing(SlowClient(url)) as client:
            client.send(head + b"Content-Length: 2\r\n\r\n" + part)
            time.sleep(0.3)  # so that the proxy has sent all of it to the API
    time.sleep(0.5)  # until the API would have deleted
    assert [kind for kind, _ in shop.events(path)] == ["UserRegistered"]


def test_each_answer_then_belongs_to_its_request(shop: Shop) -> None:
    """An answer too many on a connection to the API would be taken for the next one."""
    for _ in range(30):
        sent = str(uuid.uuid4())
        assert shop.get("/users?limit=1", headers={"X-Request-Id": sent}).headers["x-request-id"] == sent
