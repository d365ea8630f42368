"""Input that is meant to hurt, byte by byte against a real process: each has its 4xx, and nothing is appended."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from tests import loopback
from tests.system.slow import SlowClient
from tests.system.stack import Stack
from tests.system.weighing import descriptors, resident_bytes

ANSWER_SECONDS_MAX = 10
GROWTH_BYTES_MAX = 48 * 1024 * 1024
NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"


@dataclass
class Shop:
    """A running service with a user, a product and an order; `@user` and so on stand for their ids in a payload."""

    stack: Stack
    ids: dict[bytes, bytes]
    head: object
    memory: int
    descriptors: int

    def send(self, raw: bytes) -> tuple[int, str]:
        """Send bytes as they are; the status and the problem's code."""
        for name, value in self.ids.items():
            raw = raw.replace(name, value)
        raw = raw.replace(b"@length", b"%d" % len(raw.partition(b"\r\n\r\n")[2]))
        with closing(SlowClient(self.stack.urls[0])) as client:
            client.send(raw)
            head, _, body = client.answer(ANSWER_SECONDS_MAX).partition(b"\r\n\r\n")
        assert b"content-type: application/problem+json" in head, head
        document = json.loads(body)
        assert document["status"] == int(head.split()[1])
        return document["status"], document["code"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Stack(tmp_path_factory.mktemp("hostile"), workers=0) as stack:
        with loopback.Client(base_url=stack.urls[0], timeout=10) as client:
            user = client.post("/users", json={"name": "Ada", "email": "ada@example.org"}).json()
            tea = {"sku": "tea", "name": "Tea", "price": "2.5", "currency": "EUR", "stock": 10}
            product = client.post("/products", json=tea).json()
            items = [{"sku": "tea", "quantity": 1}]
            order = client.post("/orders", json={"user_id": user["id"], "items": items}).json()
            client.get("/openapi.json")
        ids = {b"@user": user["id"], b"@product": product["id"], b"@order": order["id"]}
        encoded = {name: value.encode() for name, value in ids.items()}
        ((head,),) = stack.rows("SELECT position FROM log.head")
        pid = stack.apis[0].pid
        yield Shop(stack, encoded, head, resident_bytes(pid), descriptors(pid))


@pytest.fixture(autouse=True)
def unharmed(shop: Shop) -> Iterator[None]:
    """After each of them: the same process, no event more, no memory, no connection."""
    yield
    pid = shop.stack.apis[0].pid
    assert shop.stack.apis[0].is_alive()
    before, ((shop.head,),) = shop.head, shop.stack.rows("SELECT position FROM log.head")
    assert shop.head == before
    assert resident_bytes(pid) - shop.memory < GROWTH_BYTES_MAX
    assert descriptors(pid) <= shop.descriptors + 3
    assert "Traceback" not in shop.stack.apis[0].log


def request(method: bytes, path: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: x", b"Connection: close", *headers]
    if body:
        lines += [b"Content-Length: @length"]
        lines += [] if any(it.lower().startswith(b"content-type") for it in headers) else [JSON]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


GET, POST, PUT = b"GET", b"POST", b"PUT"
JSON = b"Content-Type: application/json"
USER: dict[str, Any] = {"name": "Eve", "email": "eve@example.org"}
TEA: dict[str, Any] = {"sku": "eve", "name": "Tea", "price": "1", "currency": "EUR", "stock": 1}


def order(items: bytes = b'[{"sku": "tea", "quantity": 1}]', more: bytes = b"") -> bytes:
    return b'{"user_id": "@user", "items": ' + items + more + b"}"


def item(quantity: bytes) -> bytes:
    return order(b'[{"sku": "tea", "quantity": ' + quantity + b"}]")


BODIES: dict[str, tuple[bytes, bytes, int, str]] = {
    "nothing": (b"/users", b" ", 400, "malformed-json"),
    "not json": (b"/users", b"<xml/>", 400, "malformed-json"),
    "cut off": (b"/users", b'{"name": "Eve"', 400, "malformed-json"),
    "two documents": (b"/users", b"{} {}", 400, "malformed-json"),
    "a byte order mark": (b"/users", b"\xef\xbb\xbf{}", 422, "validation-error"),
    "utf-16": (b"/users", json.dumps(USER).encode("utf-16"), 400, "malformed-json"),
    "bad utf-8": (b"/users", b'{"name": "\xff\xfe", "email": "eve@example.org"}', 400, "malformed-json"),
    "overlong utf-8": (b"/users", b'{"name": "\xc0\x80", "email": "eve@example.org"}', 400, "malformed-json"),
    "a surrogate in utf-8": (b"/users", b'{"name": "\xed\xa0\x80", "email": "e@e.org"}', 400, "malformed-json"),
    "a lone surrogate": (b"/users", b'{"name": "\\ud800", "email": "eve@example.org"}', 422, "validation-error"),
    "a lone surrogate as a name": (b"/users", b'{"\\ud800": 1}', 422, "validation-error"),
    "a raw line break in text": (b"/users", b'{"name": "a\nb", "email": "e@e.org"}', 400, "malformed-json"),
    "NUL": (b"/users", b'{"name": "a\\u0000b", "email": "eve@example.org"}', 422, "validation-error"),
    "a duplicate key": (b"/users", b'{"name": "a", "name": "b", "email": "e@e.org"}', 400, "malformed-json"),
    "a duplicate key, escaped": (b"/users", b'{"name": "a", "n\\u0061me": "b"}', 400, "malformed-json"),
    "an array": (b"/users", b"[]", 422, "validation-error"),
    "null": (b"/users", b"null", 422, "validation-error"),
    "depth": (b"/users", b"[" * 100_000 + b"]" * 100_000, 400, "malformed-json"),
    "depth of objects": (b"/users", b'{"a":' * 100_000, 400, "malformed-json"),
    "NaN": (b"/orders", item(b"NaN"), 400, "malformed-json"),
    "Infinity": (b"/orders", item(b"-Infinity"), 400, "malformed-json"),
    "2^63": (b"/orders", item(b"9223372036854775808"), 422, "validation-error"),
    "2^64": (b"/orders", item(b"18446744073709551616"), 422, "validation-error"),
    "five thousand digits": (b"/orders", item(b"9" * 5_000), 400, "malformed-json"),
    "1e400": (b"/orders", item(b"1e400"), 422, "validation-error"),
    "1e999999999": (b"/orders", item(b"1e999999999"), 422, "validation-error"),
    "1e9999999999999999999": (b"/orders", item(b"1e9999999999999999999"), 400, "malformed-json"),
    "a fraction": (b"/orders", item(b"1.5"), 422, "validation-error"),
    "true": (b"/orders", item(b"true"), 422, "validation-error"),
    "text for a number": (b"/orders", item(b'"1"'), 422, "validation-error"),
    "zero": (b"/orders", item(b"0"), 422, "validation-error"),
    "minus one": (b"/orders", item(b"-1"), 422, "validation-error"),
    "no lines": (b"/orders", order(b"[]"), 422, "validation-error"),
    "too many lines": (
        b"/orders",
        order(b"[" + b",".join([b'{"sku":"tea","quantity":1}'] * 1_001) + b"]"),
        422,
        "validation-error",
    ),
    "an unknown field": (b"/orders", order(more=b', "total": "0"'), 422, "validation-error"),
    "sql for an id": (b"/orders", order().replace(b"@user", b"' OR 1=1 --"), 422, "validation-error"),
    "a price of 1e400": (b"/products", json.dumps(TEA).encode().replace(b'"1"', b"1e400"), 422, "validation-error"),
    "a price of 1e-400": (b"/products", json.dumps(TEA).encode().replace(b'"1"', b"1e-400"), 422, "validation-error"),
    "a price of NaN": (b"/products", json.dumps(TEA | {"price": "NaN"}).encode(), 422, "validation-error"),
    "a price in other digits": (
        b"/products",
        json.dumps(TEA | {"price": "\u0661"}).encode(),
        422,
        "validation-error",
    ),
    "a price with underscores": (b"/products", json.dumps(TEA | {"price": "1_0"}).encode(), 422, "validation-error"),
    "a currency that looks right": (
        b"/products",
        json.dumps(TEA | {"currency": "\u0415UR"}).encode(),
        422,
        "validation-error",
    ),
    "stock of 2^63": (b"/products", json.dumps(TEA | {"stock": 2**63}).encode(), 422, "validation-error"),
    "a delta of minus 10^30": (
        b"/products/@product/stock",
        json.dumps({"delta": -(10**30), "reason": "x"}).encode(),
        422,
        "validation-error",
    ),
    "a line twice": (
        b"/orders/@order/cancel",
        b'{"lines": [{"line": 1, "quantity": 1}, {"line": 1, "quantity": 1}]}',
        409,
        "quantity-not-cancellable",
    ),
    "line 2^70": (
        b"/orders/@order/cancel",
        b'{"lines": [{"line": 1180591620717411303424, "quantity": 1}]}',
        422,
        "validation-error",
    ),
    "an order of nobody's": (b"/orders", order().replace(b"@user", NOBODY.encode()), 422, "unknown-user"),
}


@pytest.mark.parametrize(("path", "body", "status", "code"), BODIES.values(), ids=BODIES.keys())
def test_a_body(shop: Shop, path: bytes, body: bytes, status: int, code: str) -> None:
    assert shop.send(request(b"POST", path, body=body)) == (status, code)


TEXTS = [
    (POST, b"/users", USER, "name"),
    (POST, b"/users", USER, "email"),
    (POST, b"/users", USER | {"external_id": "x"}, "external_id"),
    (POST, b"/products", TEA, "sku"),
    (POST, b"/products", TEA, "name"),
    (POST, b"/products/@product/stock", {"delta": 1, "reason": "x"}, "reason"),
    (POST, b"/orders", {"user_id": "@user", "items": [{"sku": "tea", "quantity": 1}], "note": "x"}, "note"),
    (
        POST,
        b"/orders",
        {"user_id": "@user", "items": [{"sku": "tea", "quantity": 1}], "external_id": "x"},
        "external_id",
    ),
    (POST, b"/orders/@order/cancel", {"reason": "x"}, "reason"),
    (PUT, b"/users/@user", USER, "name"),
    (PUT, b"/users/@user", USER, "email"),
    (PUT, b"/products/@product", {"name": "Tea", "price": "1"}, "name"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    TEXTS,
    ids=[f"{method.decode()} {path.decode()} {field}" for method, path, _, field in TEXTS],
)
def test_control_characters_in_every_text(
    shop: Shop, method: bytes, path: bytes, body: dict[str, Any], field: str
) -> None:
    for character in ("\x00", "\x01", "\x08", "\x0b", "\x1b", "\x1f"):
        spoilt = body | {field: f"a{character}b@example.org"}
        assert shop.send(request(method, path, body=json.dumps(spoilt).encode())) == (422, "validation-error")


def cursor(*content: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=")


ANY_USER = json.dumps(USER).encode()
HEADERS_AND_PATHS: dict[str, tuple[bytes, int, str]] = {
    "If-Match of garbage": (request(PUT, b"/users/@user", b"If-Match: garbage", body=ANY_USER), 400, "invalid-header"),
    "If-Match of -1": (request(PUT, b"/users/@user", b'If-Match: "-1"', body=ANY_USER), 412, "version-mismatch"),
    "If-Match of 10^30": (
        request(PUT, b"/users/@user", b'If-Match: "1000000000000000000000000000000"', body=ANY_USER),
        412,
        "version-mismatch",
    ),
    "If-Match twice": (
        request(PUT, b"/users/@user", b'If-Match: "1"', b'If-Match: "2"', body=ANY_USER),
        400,
        "invalid-header",
    ),
    "If-Match without its end": (
        request(PUT, b"/users/@user", b'If-Match: "' + b'"a' * 10_000, body=ANY_USER),
        400,
        "invalid-header",
    ),
    "an empty key": (request(POST, b"/users", b"Idempotency-Key:", body=ANY_USER), 400, "invalid-header"),
    "a key too long": (
        request(POST, b"/users", b"Idempotency-Key: " + b"k" * 256, body=ANY_USER),
        400,
        "invalid-header",
    ),
    "a key that is not ascii": (
        request(POST, b"/users", "Idempotency-Key: schl\u00fcssel".encode(), body=ANY_USER),
        400,
        "invalid-header",
    ),
    "a key with a tab": (request(POST, b"/users", b"Idempotency-Key: a\tb", body=ANY_USER), 400, "invalid-header"),
    "two keys": (
        request(POST, b"/users", b"Idempotency-Key: a", b"Idempotency-Key: b", body=ANY_USER),
        400,
        "invalid-header",
    ),
    "a negative Sync-Token": (request(GET, b"/users", b"Sync-Token: -1"), 400, "invalid-header"),
    "a huge Sync-Token": (request(GET, b"/users", b"Sync-Token: " + b"9" * 40), 400, "invalid-header"),
    "a Sync-Token in other digits": (
        request(GET, b"/users", "Sync-Token: \u0663".encode()),
        400,
        "invalid-header",
    ),
    "waiting for NaN": (request(GET, b"/users", b"Sync-Token: 1", b"Prefer: wait=NaN"), 400, "invalid-header"),
    "waiting for -1": (request(GET, b"/users", b"Sync-Token: 1", b"Prefer: wait=-1"), 400, "invalid-header"),
    "waiting for ever": (
        request(GET, b"/users", b"Sync-Token: 1", b"Prefer: wait=" + b"9" * 400),
        400,
        "invalid-header",
    ),
    "NUL in a header": (request(GET, b"/users", b"X-Request-Id: a\x00b"), 400, "malformed-request"),
    "a control character in a header": (request(GET, b"/users", b"X-Request-Id: a\x01b"), 400, "malformed-request"),
    "a header folded": (request(GET, b"/users", b"X-Request-Id: a\r\n b"), 400, "malformed-request"),
    "a header without a colon": (request(GET, b"/users", b"X-Request-Id"), 400, "malformed-request"),
    "two lengths": (
        request(POST, b"/users", b"Content-Length: 1", body=ANY_USER),
        400,
        "malformed-request",
    ),
    "length and chunks": (
        request(POST, b"/users", b"Transfer-Encoding: chunked", body=ANY_USER),
        400,
        "malformed-request",
    ),
    "a negative length": (request(POST, b"/users", b"Content-Length: -1"), 400, "malformed-request"),
    "a chunk of 2^64": (
        request(POST, b"/users", JSON, b"Transfer-Encoding: chunked") + b"10000000000000000\r\n",
        400,
        "malformed-request",
    ),
    "a chunk that is none": (
        request(POST, b"/users", JSON, b"Transfer-Encoding: chunked") + b"xyz\r\n",
        400,
        "malformed-request",
    ),
    "another media type": (
        request(POST, b"/users", b"Content-Type: text/plain", body=ANY_USER),
        415,
        "unsupported-media-type",
    ),
    "no media type": (request(POST, b"/users", b"Content-Type:", body=ANY_USER), 415, "unsupported-media-type"),
    "a cursor of garbage": (request(GET, b"/users?cursor=garbage"), 400, "invalid-cursor"),
    "a cursor that is not ascii": (request(GET, b"/users?cursor=%E2%98%83"), 400, "invalid-cursor"),
    "a cursor of numbers": (request(GET, b"/users?cursor=" + cursor(1, 2, 3)), 400, "invalid-cursor"),
    "a cursor of another list": (
        request(GET, b"/users?cursor=" + cursor("0" * 12, "2026-01-01T00:00:00Z", NOBODY)),
        400,
        "invalid-cursor",
    ),
    "a cursor with NUL": (request(GET, b"/products?cursor=" + cursor("0" * 12, "\x00", NOBODY)), 400, "invalid-cursor"),
    "a limit of 0": (request(GET, b"/users?limit=0"), 400, "invalid-parameter"),
    "a limit of 10^30": (request(GET, b"/users?limit=1" + b"0" * 30), 400, "invalid-parameter"),
    "a limit in other digits": (request(GET, b"/users?limit=%D9%A3"), 400, "invalid-parameter"),
    "after 2^63": (request(GET, b"/events?after=9223372036854775808"), 400, "invalid-parameter"),
    "NUL in a filter": (request(GET, b"/users?email=a%00b"), 400, "invalid-parameter"),
    "bad utf-8 in a filter": (request(GET, b"/users?email=%ff"), 400, "invalid-parameter"),
    "a surrogate in a filter": (request(GET, b"/users?email=%ed%a0%80"), 400, "invalid-parameter"),
    "a filter twice": (request(GET, b"/users?email=a&email=b"), 400, "invalid-parameter"),
    "a filter that is unknown": (request(GET, b"/users?admin=true"), 400, "unknown-parameter"),
    "a time beyond the calendar": (
        request(GET, b"/orders?placed_at[gte]=9999-12-31T23:59:59-23:59"),
        400,
        "invalid-parameter",
    ),
    "an amount of 1e400": (request(GET, b"/orders?total[gte]=1e400"), 400, "invalid-parameter"),
    "up a folder": (request(GET, b"/users/../events"), 404, "not-found"),
    "up a folder, encoded": (request(GET, b"/users/%2e%2e/events"), 404, "not-found"),
    "an encoded slash": (request(GET, b"/users%2f@user"), 404, "not-found"),
    "two slashes": (request(GET, b"//users"), 404, "not-found"),
    "a slash at the end": (request(GET, b"/users/"), 404, "not-found"),
    "NUL in a path": (request(GET, b"/users/%00"), 404, "not-found"),
    "bad utf-8 in a path": (request(GET, b"/users/%ff%fe"), 404, "not-found"),
    "an id with a line break": (request(GET, b"/users/@user%0a"), 404, "not-found"),
    "an id in full-width digits": (
        request(GET, b"/users/%EF%BC%90" + NOBODY[1:].encode()),
        404,
        "not-found",
    ),
    "a path that is a URL of another host": (request(GET, b"http://example.org/users"), 400, "malformed-request"),
    "a method that is unknown": (request(b"TRACE", b"/users"), 405, "method-not-allowed"),
    "CONNECT": (request(b"CONNECT", b"example.org:443"), 400, "malformed-request"),
    "changing an order": (request(PUT, b"/orders/@order", body=ANY_USER), 405, "method-not-allowed"),
    "a version that is none": (b"GET /users HTTP/9.9\r\nHost: x\r\n\r\n", 400, "malformed-request"),
    "TLS": (bytes.fromhex("160301020001000001fc0303"), 400, "malformed-request"),
}

# Whatever the service reads, and one that it does not.
HEADERS = [
    b"Accept",
    b"Authorization",
    b"Content-Type",
    b"Idempotency-Key",
    b"If-Match",
    b"If-None-Match",
    b"Prefer",
    b"Sync-Token",
    b"Traceparent",
    b"X-Request-Id",
    b"X-Whatever",
]


@pytest.mark.parametrize(("raw", "status", "code"), HEADERS_AND_PATHS.values(), ids=HEADERS_AND_PATHS.keys())
def test_a_header_or_a_path(shop: Shop, raw: bytes, status: int, code: str) -> None:
    assert shop.send(raw) == (status, code)


@pytest.mark.parametrize("name", HEADERS)
def test_a_control_character_in_any_header(shop: Shop, name: bytes) -> None:
    for character in (b"\x00", b"\x01", b"\x08", b"\x0b", b"\x1b", b"\x1f", b"\x7f"):
        raw = request(PUT, b"/users/@user", name + b": a" + character + b"b", body=ANY_USER)
        assert shop.send(raw) == (400, "malformed-request"), (name, character)


def test_texts_that_only_look_the_same_are_different(shop: Shop) -> None:
    """No normalisation behind anybody's back: another spelling of a SKU is another SKU."""
    for sku, refused in (
        ("te\u0430", "unknown-product"),
        ("\uff54ea", "unknown-product"),
        ("tea\u200b", "validation-error"),  # no SKU has characters that show nothing
    ):
        body = order(b'[{"sku": ' + json.dumps(sku).encode() + b', "quantity": 1}]')
        assert shop.send(request(POST, b"/orders", body=body)) == (422, refused)
