"""A body is never lost, and never executed as a request, whatever the head offers."""

import json
import re
import time
from contextlib import closing

import pytest

from eventlog.ids import new_id
from service.http.connections import HEAD_BYTES_MAX, HEADERS_MAX
from tests.builders import wait_until
from tests.served import Shop, served
from tests.system.slow import SlowClient

UPGRADES = [b"h2c", b"foo", b"websocket"]


def answer(shop: Shop, *pieces: bytes) -> bytes:
    with closing(SlowClient(str(shop.http.base_url))) as client:
        for piece in pieces:
            client.send(piece)
            time.sleep(0.02)  # so that the server reads the pieces one by one

        def is_answered() -> bool:
            client.look()
            return b"\r\n\r\n" in client.received

        wait_until(is_answered, 5, "the request is answered")
        time.sleep(0.05)
        client.look()
        assert client.received.count(b"HTTP/1.1 ") == 1
        return client.received


def post(body: bytes, upgrade: bytes, chunked: bool = False, to: str = "POST /users") -> bytes:
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    offer = b"cOnnection: Upgrade, HTTP2-Settings\r\nuPgrade: %b\r\nHTTP2-Settings: AAA\r\n" % upgrade
    return b"%b HTTP/1.1\r\nHost: x\r\n%bContent-Type: application/json\r\n%b\r\n\r\n%b" % (
        to.encode(),
        offer,
        length,
        sent,
    )


@pytest.mark.parametrize(("version", "first"), [(b"1.0", b"201"), (b"1.1", b"100")])
def test_a_client_of_http_1_0_gets_its_answer_without_100_continue(
    module_database_url: str, version: bytes, first: bytes
) -> None:
    body = b'{"name": "Ada", "email": "continue%b@example.org"}' % version
    head = b"POST /users HTTP/%b\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n" % version
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    with served(module_database_url) as shop, closing(SlowClient(str(shop.http.base_url))) as client:
        client.send(head + length + body)
        wait_until(lambda: client.look() or b" 201 " in client.received, 5, "the answer")
        assert client.received.startswith(b"HTTP/1.1 " + first)


@pytest.mark.parametrize("path", [b"/users?no_such=1", b"/no/such"])
def test_a_client_that_is_answered_in_place_of_100_continue_is_hung_up_on(
    module_database_url: str, path: bytes
) -> None:
    """It sends no body. Go before 1.22.5 sends its next request instead, which would be read as the body."""
    with served(module_database_url) as shop, closing(SlowClient(str(shop.http.base_url))) as client:
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n" % path
        client.send(head + b"Content-Length: 35\r\n\r\n")
        told = client.answer(2)
        assert told.startswith(b"HTTP/1.1 4")
        assert b"\r\nconnection: close\r\n" in told


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("body", [b"", b'{"lines":[{"line":1,"quantity":1}]}'])
def test_a_post_with_a_type_and_no_length_cancels_nothing(
    module_database_url: str, version: bytes, body: bytes
) -> None:
    """curl -L -X POST sends one when it was redirected; a program that was written by hand forgets the length."""
    with served(module_database_url) as shop:
        path = f"/orders/{shop.order()['id']}"
        head = b"POST %b/cancel HTTP/%b\r\nHost: x\r\n" % (path.encode(), version)
        with closing(SlowClient(str(shop.http.base_url))) as client:
            client.send(head + b"Content-Type: application/json\r\nConnection: close\r\n\r\n" + body)
            assert client.answer(5).startswith(b"HTTP/1.1 400 ")
        assert [kind for kind, _ in shop.events(path)] == ["OrderPlaced"]
        with closing(SlowClient(str(shop.http.base_url))) as client:  # curl -X POST, without a body
            client.send(head + b"Connection: close\r\n\r\n")
            assert client.answer(5).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("length", [b"Content-Length: 2", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("kind", ["users", "products"])
def test_nothing_is_deleted_before_the_announced_body_is_there(
    module_database_url: str, kind: str, length: bytes
) -> None:
    with served(module_database_url) as shop:
        path = f"/{kind}/{(shop.user() if kind == 'users' else shop.product())['id']}"
        before = shop.events(path)
        head = (
            f"DELETE {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode() + length + b"\r\n\r\n"
        )
        with closing(SlowClient(str(shop.http.base_url))) as client:
            client.send(head)
            time.sleep(0.3)  # until the API would have deleted
        assert shop.events(path) == before
        whole = head + (b"2\r\n{}\r\n0\r\n\r\n" if b"chunked" in length else b"{}")
        assert answer(shop, whole).startswith(b"HTTP/1.1 204 ")
        assert len(shop.events(path)) == len(before) + 1


def test_a_body_of_a_delete_is_not_ignored(module_database_url: str) -> None:
    with served(module_database_url) as shop:
        user = shop.user()
        for body in (b'{"version": 7}', b'{"dry_run": true}', b"null", b"[]"):
            headers = {"If-Match": '"1"', "Content-Type": "application/json"}
            told = shop.http.request("DELETE", f"/users/{user['id']}", content=body, headers=headers)
            assert (told.status_code, told.json()["code"]) == (422, "validation-error")
        for headers in ({}, {"Content-Type": "application/json"}):  # as clients have it for all requests
            assert shop.delete(f"/users/{user['id']}", headers=headers).status_code == 204


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_filter_in_the_body_of_a_get_is_not_ignored(module_database_url: str, method: str) -> None:
    """curl -X GET -d, and requests.get(json=...), send one. Without it the answer would have everybody's orders."""
    with served(module_database_url) as shop:
        for path in (
            "/orders",
            f"/orders/{new_id()}",
            "/users",
            "/products",
            "/events",
            "/sales",
            "/keys",
            "/projections",
            "/healthz",
        ):
            for body in (b'{"status": "placed"}', b"status=placed", b"null", iter([b'{"limit": 1}'])):
                told = shop.http.request(method, path, content=body)
                assert told.status_code == 400, (path, body)
                assert method == "HEAD" or "send filters in the query" in told.json()["detail"]
            for empty in (b"", b"{}", b"[]", iter([b"{}"]), iter(())):  # as some clients send with every request
                assert shop.http.request(method, path, content=empty).status_code in {200, 404}


def test_a_get_is_not_answered_before_the_announced_body_is_there(module_database_url: str) -> None:
    with served(module_database_url) as shop, closing(SlowClient(str(shop.http.base_url))) as client:
        client.send(b"GET /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
        time.sleep(0.3)  # until the API would have answered
        client.look()
        assert client.received == b""
        client.send(b"}")
        wait_until(lambda: client.look() or client.received.startswith(b"HTTP/1.1 200 "), 5, "the answer")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("upgrade", UPGRADES)
def test_a_request_that_offers_an_upgrade_keeps_its_body(
    module_database_url: str, upgrade: bytes, chunked: bool
) -> None:
    with served(module_database_url) as shop:
        for number, cut in enumerate([0, 1, 30, 60, 100, -20, -3]):
            email = f"{upgrade.decode()}{chunked}{number}@example.org"
            raw = post(json.dumps({"name": "Ada", "email": email}).encode(), upgrade, chunked)
            pieces = [it for it in (raw[:cut], raw[cut:]) if it]
            assert b" 201 " in answer(shop, *pieces).split(b"\r\n")[0]


@pytest.mark.parametrize("chunked", [False, True])
def test_every_route_with_a_body_reads_it_when_an_upgrade_is_offered(module_database_url: str, chunked: bool) -> None:
    with served(module_database_url) as shop:
        routes = [
            f"{method.upper()} {re.sub('{.*?}', str(new_id()), path)}"
            for path, operations in shop.http.get("/openapi.json").json()["paths"].items()
            for method, operation in operations.items()
            if "requestBody" in operation
        ]
        assert len(routes) > 5
        for route in routes:
            raw = post(b'{"no_such_member": 1}', b"h2c", chunked, route)
            head = raw.index(b"\r\n\r\n") + 4
            for pieces in ([raw], [raw[:head], raw[head:]]):
                told = answer(shop, *pieces)
                assert told.startswith(b"HTTP/1.1 422 "), (route, told)
                assert b'"/no_such_member"' in told, (route, told)


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_a_request_hidden_in_a_body_is_not_executed(module_database_url: str, upgrade: bytes) -> None:
    with served(module_database_url) as shop:
        user = shop.http.post("/users", json={"name": "Eve", "email": f"eve-{upgrade.decode()}@example.org"}).json()
        hidden = f"DELETE /users/{user['id']} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        raw = post(hidden, upgrade)
        cut = len(raw) - len(hidden)
        for pieces in ([raw], [raw[:cut], raw[cut:]]):
            assert answer(shop, *pieces).startswith(b"HTTP/1.1 4")
        again = shop.http.post("/users", json={"name": "Eve", "email": f"eve-{upgrade.decode()}@example.org"})
        assert again.status_code == 409  # the address is still in use


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /users HTTP/1.1\r\n\r\n",
        b"GET /users HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /users HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /users HTTP/1.1\r\nHost: x y\r\n\r\n",
        b"GET /users HTTP/1.1\r\nHost: x/y\r\n\r\n",
        b"GET /users HTTP/1.1\r\nHost: y@x\r\n\r\n",
        b"GET http://y/users HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /orders?limit=1#&status=placed HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n",
        b"GET /users HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /users HTTP/0.9\r\nHost: x\r\n\r\n",
        b"POST /users HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"POST /users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"POST /users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: ,chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_a_head_that_breaks_the_rules_of_http_is_malformed(module_database_url: str, raw: bytes) -> None:
    with served(module_database_url) as shop:
        assert answer(shop, raw).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("announced", "reason"),
    [
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Invalid `Transfer-Encoding` header value"),
        (b"Content-Length: 2\r\nContent-Length: 2", b"Duplicate Content-Length"),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"Transfer-Encoding can't be present with Content-Length"),
        (b"Content-Length: undefined", b"Invalid character in Content-Length"),
    ],
)
def test_the_problem_names_the_malformed_part_of_the_head(
    module_database_url: str, announced: bytes, reason: bytes
) -> None:
    """Gateways that copy a request's headers send the first three: its author sees nothing wrong in his own code."""
    with served(module_database_url) as shop:
        told = answer(shop, b"POST /users HTTP/1.1\r\nHost: x\r\n" + announced + b"\r\n\r\n{}")
        assert told.startswith(b"HTTP/1.1 400 ")
        assert b'"detail":"This is no HTTP request: ' + reason + b'."' in told


def test_a_uri_may_name_the_host_as_clients_of_a_proxy_do(module_database_url: str) -> None:
    with served(module_database_url) as shop:
        raw = b"GET http://Shop.example:8000/users HTTP/1.1\r\nHost: shop.example:8000\r\n\r\n"
        assert answer(shop, raw).startswith(b"HTTP/1.1 200 ")


def with_trailer(trailer: bytes, **user: str) -> bytes:
    """A request that registers a user, with a trailer behind its body."""
    raw = post(json.dumps(user).encode(), b"h2c", chunked=True)
    return raw.removesuffix(b"\r\n") + trailer + b"\r\n\r\n"


@pytest.mark.parametrize("trailer", [b"Content-Encoding: gzip", b"Idempotency-Key: k"])
def test_a_trailer_is_no_header(module_database_url: str, trailer: bytes) -> None:
    with served(module_database_url) as shop:
        for number in range(2):
            email = f"{trailer[:7].decode()}-{number}@example.org"
            assert answer(shop, with_trailer(trailer, name="Ada", email=email)).startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize("head", [b"", b"X: y\r\n" * HEADERS_MAX], ids=["accepted", "rejected"])
def test_a_trailer_that_ends_the_connection_leaves_no_request_without_an_answer(
    module_database_url: str, head: bytes
) -> None:
    """The parser reads nothing behind it, so the client must see that the connection is closed."""
    with served(module_database_url) as shop, closing(SlowClient(str(shop.http.base_url))) as client:
        raw = with_trailer(b"Connection: close", name="Ada", email=f"closing-{len(head)}@example.org")
        client.send(raw.replace(b"Host: x\r\n", b"Host: x\r\n" + head))
        client.send(b"GET /users HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.answer(5).startswith(b"HTTP/1.1 431 " if head else b"HTTP/1.1 201 ")


def test_trailers_are_limited_like_a_head(module_database_url: str) -> None:
    """A parser that gathers one long trailer copies it again with each piece, and the process stands still."""
    with served(module_database_url) as shop, closing(SlowClient(str(shop.http.base_url))) as client:
        client.send(post(b"{}", b"h2c", chunked=True).removesuffix(b"\r\n") + b"X: ")
        for _ in range(20):
            client.send(b"a" * HEAD_BYTES_MAX)
        assert client.answer(5).startswith(b"HTTP/1.1 431 ")
