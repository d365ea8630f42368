"""Hostile requests: each is refused with its own problem, and nothing is appended."""

import contextlib
import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from contract.requests import BODY_BYTES_MAX
from tests.served import Shop, problem

JSON = {"Content-Type": "application/json"}
USER = {"name": "Ada", "email": "ada@example.org"}
PRODUCT = {"sku": "TEA", "name": "Tea", "price": "2.50", "currency": "EUR"}
ORDER = {"user_id": "01890a5d-ac96-774b-bcce-b302099a8057", "items": [{"sku": "TEA", "quantity": 1}]}
STOCK_PATH = "/products/01890a5d-ac96-774b-bcce-b302099a8057/stock"
CANCEL_PATH = "/orders/01890a5d-ac96-774b-bcce-b302099a8057/cancel"


@pytest.fixture(autouse=True)
def nothing_is_appended(shop: Shop) -> Iterator[None]:
    before = shop.head()
    yield
    assert shop.head() == before


def send(shop: Shop, body: str | bytes, path: str = "/products", **headers: str) -> httpx.Response:
    return shop.post(path, content=body, headers=JSON | headers)


def refused(answer: httpx.Response) -> list[tuple[str, str]]:
    """The pointers and codes of a validation error."""
    assert problem(answer) == (422, "validation-error")
    errors = answer.json()["errors"]
    assert all(it["detail"] for it in errors)
    return [(it["pointer"], it["code"]) for it in errors]


@pytest.mark.parametrize(
    "body",
    [
        *["{", "[1,]", "{'sku': 1}", '{"sku": "TEA"} {}', "nul", "\ufeff", "\ufeff\ufeff{}", '{"sku": "a\nb"}', " "],
        *['{"price": NaN}', '{"price": Infinity}', '{"price": -Infinity}', '{"stock": 01}', '{"stock": +1}'],
        *['{"sku": "TEA", "sku": "TEA"}', '{"x": [{"a": 1, "a": 2}]}', '{"sku": 1, "s\\u006bu": 2}'],
        *['{"stock": ' + "9" * 5_000 + "}", '{"price": 1e99999999999999999999}'],
        *["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000],
    ],
)
def test_rejects_a_body_that_is_not_json(shop: Shop, body: str) -> None:
    assert problem(send(shop, body)) == (400, "malformed-json")


@pytest.mark.parametrize(
    "body", [b'{"sku": "\xff"}', b'{"sku": "\xc0\x80"}', b'{"sku": "\xed\xa0\x80"}', b"\xff\xfe{\0}\0"]
)
def test_rejects_a_body_that_is_not_utf_8(shop: Shop, body: bytes) -> None:
    assert problem(send(shop, body)) == (400, "malformed-json")


def test_a_duplicate_key_is_named(shop: Shop) -> None:
    assert "'sku'" in send(shop, '{"sku": "A", "sku": "B"}').json()["detail"]


@pytest.mark.parametrize("document", ["null", "[]", "1", '"text"', "true", "[" * 400 + "]" * 400])
def test_rejects_a_body_that_is_not_an_object(shop: Shop, document: str) -> None:
    assert [pointer for pointer, _ in refused(send(shop, document))] == [""]


def test_a_body_is_needed(shop: Shop) -> None:
    assert [pointer for pointer, _ in refused(shop.post("/products"))] == [""]
    assert [pointer for pointer, _ in refused(shop.post("/products", headers=JSON))] == [""]


@pytest.mark.parametrize(
    "number",
    [
        *["true", "false", '"5"', "5.5", "5.01", "1e3", "5.0e0", "[]", "{}"],
        *["9223372036854775808", "1" + "0" * 400, "1e400"],
    ],
)
@pytest.mark.parametrize(
    ("path", "pointer", "body"),
    [
        ("/products", "/stock", PRODUCT | {"stock": "X"}),
        (STOCK_PATH, "/delta", {"delta": "X", "reason": "found"}),
        ("/orders", "/items/0/quantity", ORDER | {"items": [{"sku": "TEA", "quantity": "X"}]}),
        (CANCEL_PATH, "/lines/0/line", {"lines": [{"line": "X", "quantity": 1}]}),
        (CANCEL_PATH, "/lines/0/quantity", {"lines": [{"line": 1, "quantity": "X"}]}),
    ],
)
def test_an_integer_is_nothing_else(shop: Shop, path: str, pointer: str, body: dict[str, Any], number: str) -> None:
    answer = send(shop, json.dumps(body).replace('"X"', number), path)
    assert [it for it, _ in refused(answer)] == [pointer]


@pytest.mark.parametrize(
    ("path", "pointer", "body"),
    [
        ("/products", "/stock", PRODUCT | {"stock": -1}),
        ("/products", "/stock", PRODUCT | {"stock": 10**12 + 1}),
        (STOCK_PATH, "/delta", {"delta": 0, "reason": "found"}),
        (STOCK_PATH, "/delta", {"delta": 10**12 + 1, "reason": "found"}),
        (STOCK_PATH, "/delta", {"delta": -(10**12) - 1, "reason": "found"}),
        (STOCK_PATH, "/delta", {"delta": None, "reason": "found"}),
        (STOCK_PATH, "/reason", {"delta": 1, "reason": ""}),
        (STOCK_PATH, "/reason", {"delta": 1, "reason": " \t"}),
        (STOCK_PATH, "/reason", {"delta": 1, "reason": "x" * 1_001}),
        ("/orders", "/items/0/quantity", ORDER | {"items": [{"sku": "TEA", "quantity": 0}]}),
        ("/orders", "/items/0/quantity", ORDER | {"items": [{"sku": "TEA", "quantity": 1_000_001}]}),
        ("/orders", "/items", ORDER | {"items": []}),
        ("/orders", "/items", ORDER | {"items": [{"sku": "TEA", "quantity": 1}] * 1_001}),
        ("/orders", "/items/0", ORDER | {"items": [{"quantity": 1}]}),
        ("/orders", "/items/0", ORDER | {"items": [{"sku": "TEA", "product_id": ORDER["user_id"], "quantity": 1}]}),
        ("/orders", "/items/0/product_id", ORDER | {"items": [{"product_id": "17", "quantity": 1}]}),
        ("/orders", "/user_id", ORDER | {"user_id": "17"}),
        ("/orders", "/user_id", ORDER | {"user_id": None}),
        ("/orders", "/external_id", ORDER | {"external_id": ""}),
        ("/orders", "/external_id", ORDER | {"external_id": "x" * 101}),
        ("/orders", "/note", ORDER | {"note": "x" * 1_001}),
        ("/users", "/name", USER | {"name": ""}),
        ("/users", "/name", USER | {"name": " "}),
        ("/users", "/name", USER | {"name": "x" * 201}),
        ("/users", "/email", USER | {"email": "ada"}),
        ("/users", "/email", USER | {"email": "ada lovelace@example.org"}),
        ("/users", "/email", USER | {"email": "a" * 243 + "@example.org"}),
        ("/users", "/external_id", USER | {"external_id": 17}),
        ("/products", "/sku", PRODUCT | {"sku": "x" * 101}),
        ("/products", "/currency", PRODUCT | {"currency": "eur"}),
        ("/products", "/currency", PRODUCT | {"currency": "XXX"}),
    ],
)
def test_limits_are_kept(shop: Shop, path: str, pointer: str, body: dict[str, Any]) -> None:
    assert [it for it, _ in refused(shop.post(path, json=body))] == [pointer]


@pytest.mark.parametrize("path", ["/users", "/products", "/orders", STOCK_PATH, CANCEL_PATH])
def test_unknown_fields_are_refused_at_any_depth(shop: Shop, path: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/users": USER,
        "/products": PRODUCT,
        "/orders": ORDER,
        STOCK_PATH: {"delta": 1, "reason": "found"},
        CANCEL_PATH: {},
    }
    assert refused(shop.post(path, json=bodies[path] | {"a/b~c": 1})) == [("/a~1b~0c", "unknown-field")]
    if path == "/orders":
        items = [{"sku": "TEA", "quantity": 1, "price": "0"}]
        assert refused(shop.post(path, json=ORDER | {"items": items})) == [("/items/0/price", "unknown-field")]


def test_a_problem_lists_all_errors_at_once(shop: Shop) -> None:
    pointers = {it for it, _ in refused(shop.post("/products", json={"sku": "", "price": -1, "colour": "red"}))}
    assert pointers == {"/sku", "/name", "/price", "/currency", "/colour"}


@pytest.mark.parametrize(
    "price",
    [
        *['"1e3"', '"+1"', '" 1"', '"1.00001"', '"-0"', '"-1"', '"٣"', '"1,5"', '""', '"NaN"', '"1000000000000"'],
        *["-0.01", "-1", "1e12", "1e400", "1e-5", "1.00001", "1" + "0" * 400, "1e-400", "true", "null", "[]"],
    ],
)
def test_rejects_an_invalid_price(shop: Shop, price: str) -> None:
    answer = send(shop, json.dumps(PRODUCT).replace('"2.50"', price))
    assert refused(answer) == [("/price", "money")]


TEXTS = [
    *[("/users", USER, pointer) for pointer in ("name", "email", "external_id")],
    *[("/products", PRODUCT, pointer) for pointer in ("sku", "name", "currency", "price")],
    *[
        ("/orders", ORDER, pointer)
        for pointer in ("user_id", "external_id", "note", "items/0/sku", "items/0/product_id")
    ],
    (STOCK_PATH, {"delta": 1, "reason": "found"}, "reason"),
    (CANCEL_PATH, {}, "reason"),
]


@pytest.mark.parametrize("character", ["\\u0000", "\\ud800", "\\udfff", "\\ud800x", "\\u0001", "\\u001b", "\\b"])
@pytest.mark.parametrize(("path", "body", "pointer"), TEXTS)
def test_no_text_has_nul_lone_surrogates_or_control_characters(
    shop: Shop, path: str, body: dict[str, Any], pointer: str, character: str
) -> None:
    text = "a@X.org"
    field = pointer.removeprefix("items/0/")
    body = body | ({"items": [{"quantity": 1, field: text}]} if pointer != field else {field: text})
    answer = send(shop, json.dumps(body).replace("X", character), path)
    assert [it for it, _ in refused(answer)] == [f"/{pointer}"]


@pytest.mark.parametrize("character", ["\\u0000", "\\ud800"])
def test_no_key_has_them_either(shop: Shop, character: str) -> None:
    ((_, code),) = refused(send(shop, json.dumps(USER | {"X": 1}).replace("X", character), "/users"))
    assert code in {"unknown-field", "string-unicode"}


def streamed(size: int) -> Iterator[bytes]:
    """A body without Content-Length that says nothing for long."""
    yield b'{"sku": "'
    for _ in range(size // 1024):
        yield b"x" * 1024


def test_a_body_of_more_than_a_mebibyte_is_too_large(shop: Shop) -> None:
    assert problem(send(shop, b" " * BODY_BYTES_MAX + b"1")) == (413, "body-too-large")
    assert problem(send(shop, b" " * (BODY_BYTES_MAX - 1) + b"1")) == (422, "validation-error")


def test_a_body_is_measured_while_it_streams_in(shop: Shop) -> None:
    assert problem(shop.post("/products", content=streamed(BODY_BYTES_MAX), headers=JSON)) == (413, "body-too-large")
    # Who goes on is hung up on in the middle of it.
    with contextlib.suppress(httpx.TransportError):
        answer = shop.post("/products", content=streamed(200 * BODY_BYTES_MAX), headers=JSON)
        assert problem(answer) == (413, "body-too-large")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/json-patch+json"])
def test_a_body_is_json_by_its_content_type(shop: Shop, kind: str) -> None:
    for path in ("/products", CANCEL_PATH):
        answer = shop.post(path, content=b"{}", headers={"Content-Type": kind})
        assert problem(answer) == (415, "unsupported-media-type")
    assert problem(shop.post("/products", content=b"{}")) == (415, "unsupported-media-type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON"])
def test_a_content_type_may_have_parameters_and_any_case(shop: Shop, kind: str) -> None:
    assert problem(shop.post("/products", content=b"{}", headers={"Content-Type": kind}))[0] == 422


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "GZIP", "x-unknown"])
def test_a_compressed_body_is_refused_by_the_name_of_its_encoding(shop: Shop, encoding: str) -> None:
    answer = send(shop, gzip.compress(json.dumps(USER).encode()), "/users", **{"Content-Encoding": encoding})
    assert problem(answer) == (415, "unsupported-media-type")
    assert repr(encoding) in answer.json()["detail"]
    assert answer.headers["accept-encoding"] == "identity"


def test_a_body_whose_content_encoding_is_identity_is_read(shop: Shop) -> None:
    answer = send(shop, "{}", "/users", **{"Content-Encoding": "Identity"})
    assert problem(answer) == (422, "validation-error")


@pytest.mark.parametrize("query", ["dryrun=true", "dry_run=true&limit=5", "a=1&b=2", "%00=1", "limit=5"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/users"), ("PUT", "/users/17"), ("DELETE", "/products/17"), ("POST", STOCK_PATH), ("POST", CANCEL_PATH)],
)
def test_commands_take_no_query_parameters(shop: Shop, method: str, path: str, query: str) -> None:
    answer = shop.http.request(method, f"{path}?{query}", json=USER if method != "DELETE" else None)
    assert problem(answer) == (400, "unknown-parameter")


def test_a_method_that_the_document_lacks_is_405_and_names_those_that_it_has(shop: Shop) -> None:
    for path, operations in shop.get("/openapi.json").json()["paths"].items():
        documented = set(map(str.upper, operations))
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - documented:
            answer = shop.http.request(method, path.format(id="01890a5d-ac96-774b-bcce-b302099a8057", code="gone"))
            assert problem(answer) == (405, "method-not-allowed"), (method, path)
            assert set(answer.headers["allow"].split(", ")) - {"HEAD"} == documented, (method, path)
    assert shop.post("/docs").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("key", [b"", b"x" * 256, "schlüssel".encode(), "ключ".encode(), b"a\tb"])
def test_an_idempotency_key_is_printable_ascii_of_bounded_length(shop: Shop, key: bytes) -> None:
    answer = shop.post("/users", json=USER, headers={b"Idempotency-Key": key})
    assert problem(answer) == (400, "invalid-header")


@pytest.mark.parametrize("version", ["1", "abc", '"1', '"1" "2"', '"1", "2"', "", '1"', "W/1"])
def test_if_match_is_one_quoted_version(shop: Shop, version: str) -> None:
    for method, path in (("PUT", f"/users/{ORDER['user_id']}"), ("POST", CANCEL_PATH), ("POST", STOCK_PATH)):
        body = {"PUT": USER, "POST": {"delta": 1, "reason": "found"} if path == STOCK_PATH else {}}[method]
        answer = shop.http.request(method, path, json=body, headers={"If-Match": version})
        assert problem(answer) == (400, "invalid-header")


@pytest.mark.parametrize("name", ["If-Match", "Idempotency-Key"])
def test_a_header_that_comes_twice_says_two_things(shop: Shop, name: str) -> None:
    answer = shop.post(STOCK_PATH, json={"delta": 1, "reason": "found"}, headers=[(name, '"1"'), (name, '"2"')])
    assert problem(answer) == (400, "invalid-header")


def test_a_body_has_one_content_type(shop: Shop) -> None:
    kinds = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    assert problem(shop.post("/users", content=b"{}", headers=kinds)) == (415, "unsupported-media-type")


def test_a_read_waits_for_one_sync_token(shop: Shop) -> None:
    tokens = [("Sync-Token", "1"), ("Sync-Token", "2")]
    assert problem(shop.get("/users", headers=tokens)) == (400, "invalid-header")
