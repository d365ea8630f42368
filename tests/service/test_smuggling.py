"""A request that is hidden in the body of another is never executed, however its length is announced."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.served import Shop, served

JSON = b"Content-Type: application/json\r\n"
OFFER = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"

# Each: what announces the body, and what comes before the hidden request. A server that reads any of them leniently
# finds the hidden request behind a body that seems to end there.
VARIANTS = {
    "length and chunked": (b"Content-Length: 200\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "chunked and length": (b"Transfer-Encoding: chunked\r\nContent-Length: 200", b"0\r\n\r\n"),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: 200", b""),
    "two lengths and the long one first": (b"Content-Length: 200\r\nContent-Length: 0", b""),
    "a list of lengths": (b"Content-Length: 0, 200", b""),
    "a negative length": (b"Content-Length: -1", b""),
    "a length with a plus": (b"Content-Length: +0", b""),
    "a length in hex": (b"Content-Length: 0x0", b""),
    "a length with a blank in it": (b"Content-Length: 0 200", b""),
    "an endless length": (b"Content-Length: 99999999999999999999999", b""),
    "a blank before the colon": (b"Content-Length : 200", b""),
    "a blank before the colon of chunked": (b"Transfer-Encoding : chunked", b"0\r\n\r\n"),
    "a folded header": (b"X: y\r\n Content-Length: 200", b""),
    "a folded encoding": (b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 200", b"0\r\n\r\n"),
    "an unknown encoding": (b"Transfer-Encoding: xchunked", b"0\r\n\r\n"),
    "chunked is not the last encoding": (b"Transfer-Encoding: chunked, identity", b"0\r\n\r\n"),
    "another encoding before chunked": (b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
    "two encodings": (b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "a comma before chunked": (b"Transfer-Encoding: ,chunked", b"0\r\n\r\n"),
    "chunked in quotes": (b'Transfer-Encoding: "chunked"', b"0\r\n\r\n"),
    "a vertical tab before chunked": (b"Transfer-Encoding: \x0bchunked", b"0\r\n\r\n"),
    "a NUL in a header": (b"X: a\0b\r\nContent-Length: 200", b""),
    "a carriage return in a header": (b"X: a\rContent-Length: 200", b""),
    "a chunk size in C's notation": (b"Transfer-Encoding: chunked", b"0x0\r\n\r\n"),
    "a negative chunk size": (b"Transfer-Encoding: chunked", b"-0\r\n\r\n"),
    "a chunk size that overflows": (b"Transfer-Encoding: chunked", b"10000000000000000\r\n\r\n"),
    "a chunk without its end": (b"Transfer-Encoding: chunked", b"1\r\nx0\r\n\r\n"),
    "a chunk size behind a blank": (b"Transfer-Encoding: chunked", b" 0\r\n\r\n"),
}


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with served(module_database_url) as shop:
        yield shop


def exchange(shop: Shop, raw: bytes, pieces: int | None = None, seconds: float = 0.15, expected: int = 1) -> bytes:
    """What the server answers to these bytes, cut at `pieces`, within some time or until it hangs up."""
    url = urlsplit(str(shop.http.base_url))
    with closing(socket.create_connection((url.hostname, url.port), timeout=5)) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if pieces:
            peer.sendall(raw[:pieces])
            time.sleep(0.003)  # so that the server reads the first piece alone
        peer.sendall(raw[pieces or 0 :])
        received = b""
        until = time.monotonic() + 5
        while time.monotonic() < until:
            # An answer may be followed by another one, which must not be there.
            peer.settimeout(seconds if received.count(b"HTTP/1.1 ") >= expected else 5)
            try:
                data = peer.recv(65536)
            except (TimeoutError, ConnectionResetError):
                break
            if not data:
                break
            received += data
        return received


def register(shop: Shop, email: str) -> str:
    answer = shop.http.post("/users", json={"name": "Eve", "email": email})
    assert answer.status_code == 201
    return str(answer.json()["id"])


def is_there(shop: Shop, email: str) -> bool:
    """Whether the user with this address was not deleted: a deleted user's address is free again."""
    return shop.http.post("/users", json={"name": "Eve", "email": email}).status_code == 409


def delete(user_id: str) -> bytes:
    return f"DELETE /users/{user_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.mark.parametrize("offer", [b"", OFFER], ids=["", "offering an upgrade"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_hidden_request_is_not_executed(shop: Shop, variant: str, offer: bytes) -> None:
    announced, before = VARIANTS[variant]
    email = f"{variant.replace(' ', '-')}{len(offer)}@example.org"
    user_id = register(shop, email)
    head = b"POST /users HTTP/1.1\r\nHost: x\r\n" + JSON + offer + announced + b"\r\n\r\n"
    answers = exchange(shop, head + before + delete(user_id))
    assert is_there(shop, email)
    statuses = [line.split()[1][:1] for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert b"2" not in statuses, answers


@pytest.mark.parametrize("padding", [0, 300_000])
def test_a_request_behind_an_offered_upgrade_is_a_body(shop: Shop, padding: int) -> None:
    email = f"padded-{padding}@example.org"
    body = b"\r\n" * (padding // 2) + delete(register(shop, email))
    head = b"POST /users HTTP/1.1\r\nHost: x\r\n" + JSON + OFFER + b"Content-Length: %d\r\n\r\n" % len(body)
    answers = exchange(shop, head + body)
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1
    assert is_there(shop, email)


def test_a_body_is_whole_wherever_the_request_is_cut(shop: Shop) -> None:
    head = b"POST /users HTTP/1.1\r\nHost: x\r\n" + JSON + OFFER + b"Content-Length: %d\r\n\r\n"
    length = len(head % 10) + 60
    for cut in range(1, length):
        body = json.dumps({"name": "Ada", "email": f"cut-{cut}@example.org"}).encode()
        answers = exchange(shop, head % len(body) + body, pieces=cut, seconds=0.001)
        assert answers.startswith(b"HTTP/1.1 201 "), cut


def test_pipelined_requests_that_offer_upgrades_are_answered_in_order(shop: Shop) -> None:
    raw = b""
    for number in range(3):
        body = json.dumps({"name": f"P{number}", "email": f"pipelined-{number}@example.org"}).encode()
        raw += b"POST /users HTTP/1.1\r\nHost: x\r\n" + JSON + OFFER + b"Content-Length: %d\r\n\r\n" % len(body) + body
    answers = exchange(shop, raw, expected=3)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"201"] * 3
    assert [number for number in range(3) if f'"P{number}"'.encode() in answers] == [0, 1, 2]


def test_lines_of_a_cancellation_survive_an_offered_upgrade(shop: Shop) -> None:
    user_id = register(shop, "cancelling@example.org")
    product = {"sku": "tea", "name": "Tea", "price": "1.00", "currency": "EUR", "stock": 5}
    shop.http.post("/products", json=product)
    order = {"user_id": user_id, "items": [{"sku": "tea", "quantity": 5}]}
    path = shop.http.post("/orders", json=order).headers["location"]
    body = b'{"lines":[{"line":1,"quantity":1}]}'
    head = f"POST {path}/cancel HTTP/1.1\r\nHost: x\r\n".encode() + JSON + OFFER
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    answers = exchange(shop, head + body, pieces=len(head))
    assert b'"cancelled_total":"1.00"' in answers
