"""A value that a client lost is not a wish: null is refused where absence means something."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import BaseModel

from command.orders import PlaceOrderBody
from tests.served import Shop, served


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with served(module_database_url) as shop:
        yield shop


def cancel(shop: Shop, body: bytes) -> tuple[httpx.Response, int]:
    """The answer, and how many events the cancellation appended."""
    order = shop.order()
    before = shop.head()
    answer = shop.post(f"/orders/{order['id']}/cancel", content=body, headers={"Content-Type": "application/json"})
    return answer, shop.head() - before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [(b"null", ""), (b" null ", ""), (b'{"lines": null}', "/lines"), (b'{"lines": []}', "/lines"), (b"[]", "")],
)
def test_a_lost_list_of_lines_cancels_nothing(shop: Shop, body: bytes, pointer: str) -> None:
    answer, events = cancel(shop, body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert events == 0


@pytest.mark.parametrize("body", [b"", b"{}", b'{"reason": "changed her mind"}'])
def test_absent_lines_cancel_the_whole_order(shop: Shop, body: bytes) -> None:
    answer, events = cancel(shop, body)
    assert (answer.status_code, answer.json()["status"], events) == (200, "cancelled", 2)


def test_a_body_that_was_announced_and_did_not_come_cancels_nothing(shop: Shop) -> None:
    order = shop.order()
    before = shop.head()
    answer = shop.post(f"/orders/{order['id']}/cancel", content=iter(()))
    assert "transfer-encoding" in answer.request.headers
    assert (answer.status_code, answer.json()["code"], shop.head()) == (400, "malformed-json", before)


def test_a_lost_price_does_not_switch_its_check_off(shop: Shop) -> None:
    product = shop.product()
    item = {"sku": product["sku"], "quantity": 1, "expected_unit_price": None}
    before = shop.head()
    answer = shop.post("/orders", json={"user_id": shop.user()["id"], "items": [item]})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/items/0/expected_unit_price"]
    assert shop.head() == before + 1  # the user
    del item["expected_unit_price"]
    assert shop.post("/orders", json={"user_id": shop.user()["id"], "items": [item]}).status_code == 201


def test_a_long_key_is_refused_in_little_time(shop: Shop) -> None:
    body = {"user_id": shop.user()["id"], "items": [{"sku": shop.product()["sku"], "quantity": 1}]}
    began = time.process_time()
    answer = shop.post("/orders", json=body, headers={"Idempotency-Key": '"' * 30_000 + "x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-header")
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "key",
    [
        '""',
        '" "',
        "undefined",
        '"undefined"',
        "null",
        "None",
        "NaN",
        "[object Promise]",
        "<nil>",
        "(null)",
        str(UUID(int=0)),
        "function randomUUID() { [native code] }",
        "{{idempotency_key}}",
        "${KEY}",
        "$KEY",
        "%!s(<nil>)",
        "<no value>",
        "{}",
        "#N/A",
        "$(uuidgen)",
        "%KEY%",
        "<function uuid4 at 0x7f3c2a1b0d30>",
        "#<Method: SecureRandom.uuid>",
        "System.Threading.Tasks.Task`1[System.String]",
        "Optional.empty",
        "() => crypto.randomUUID()",
        *("0" * 32, "{00000000-0000-0000-0000-000000000000}", "urn:uuid:00000000-0000-0000-0000-000000000000"),
        *("0" * 24, "0" * 26),
        *("order-undefined", "checkout:null", "pay_None", "undefined-undefined", "cart-[object Object]", "order-NaN"),
        *(
            "order-",
            "checkout:",
            "pay_",
            "order--",
            "ORDER_",
        ),  # in place of null PHP and shells write nothing
        *(f"order-{UUID(int=0)}", f"cart:{{{UUID(int=0)}}}"),
    ],
)
def test_a_lost_idempotency_key_does_not_make_two_orders_one(shop: Shop, key: str) -> None:
    body = {"user_id": shop.user()["id"], "items": [{"sku": shop.product()["sku"], "quantity": 1}]}
    answer = shop.post("/orders", json=body, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-header")
    assert shop.post("/orders", json=body, headers={"Idempotency-Key": f"{key}-1"}).status_code == 201


@pytest.mark.parametrize(
    "key", ["order-undefined-7", "only-words", "V1StGXR8_Z5jdHi6B-myT", "a-na-b", "0", "-", "a-", "Xu-"]
)
def test_an_idempotency_key_that_only_looks_lost_is_taken(shop: Shop, key: str) -> None:
    body = {"user_id": shop.user()["id"], "items": [{"sku": shop.product()["sku"], "quantity": 1}]}
    assert shop.post("/orders", json=body, headers={"Idempotency-Key": key}).status_code == 201


@pytest.mark.parametrize("key", ["customer-undefined", "CUST-nan", "C-None", "user_null", f"user-{UUID(int=0)}"])
def test_a_word_and_a_lost_value_are_not_one_external_id_for_all(shop: Shop, key: str) -> None:
    answer = shop.post("/users", json={"name": "Ada", "email": "ada@lost.example", "external_id": key})
    assert [(it["pointer"], it["code"]) for it in answer.json()["errors"]] == [("/external_id", "lost-value")]


@pytest.mark.parametrize("key", ["li-nan", "anna.nil", "gift-none", "customer-7-undefined", "NULL-x"])
def test_an_external_id_that_ends_like_a_lost_value_is_taken(shop: Shop, key: str) -> None:
    assert shop.user(external_id=key)["external_id"] == key


@pytest.mark.parametrize("sku", ["RING-Gold-None", "nan-bread", "T-SHIRT-NONE"])
def test_a_sku_may_say_that_there_is_none(shop: Shop, sku: str) -> None:
    assert shop.product(sku=sku)["sku"] == sku


def test_a_key_or_an_address_that_has_lost_a_letter_is_not_taken(shop: Shop) -> None:
    """Müller and Möller are both M�ller then."""
    lost, product = "M�ller", {"name": "Tea", "price": 1, "currency": "EUR"}
    for path, pointer, body in [
        ("/users", "/external_id", {"name": "M", "email": "m@lost.example", "external_id": lost}),
        ("/users", "/email", {"name": "M", "email": f"{lost}@lost.example"}),
        ("/products", "/sku", product | {"sku": lost}),
    ]:
        answer = shop.post(path, json=body)
        assert [(it["pointer"], it["code"]) for it in answer.json()["errors"]] == [(pointer, "lost-character")]


@pytest.mark.parametrize(
    "key",
    [
        *("undefined", "NULL", "None", " nan ", "\\N", "#N/A"),
        *(
            '"undefined"',
            "'None'",
            '""',
            "{{order_id}}",
            "${ORDER_ID}",
            "%!s(<nil>)",
            "System.Object[]",
            "Invalid Date",
            "<bound method Order.number of Order>",
            "0" * 32,
        ),
    ],
)
def test_a_lost_key_is_not_one_key_for_all(shop: Shop, key: str) -> None:
    user, sku = shop.user()["id"], shop.product()["sku"]
    item = {"sku": sku, "quantity": 1}
    for path, pointer, body in [
        ("/users", "/external_id", {"name": "Ada", "email": "ada@lost.example", "external_id": key}),
        ("/products", "/sku", {"name": "Tea", "price": 1, "currency": "EUR", "sku": key}),
        ("/orders", "/external_id", {"user_id": user, "items": [item], "external_id": key}),
        ("/orders", "/items/0/sku", {"user_id": user, "items": [item | {"sku": key}]}),
    ]:
        answer = shop.post(path, json=body)
        assert [(it["pointer"], it["code"]) for it in answer.json()["errors"]] == [(pointer, "lost-value")]


@pytest.mark.parametrize(
    "key", ["Nat", "na", "$5", "#SALE", "{3f2a9c1e}", "function", "100%", "nilgiri", "<CAF1@mail.example>"]
)
def test_a_key_that_only_looks_like_a_lost_one_is_taken(shop: Shop, key: str) -> None:
    assert shop.product(sku=key)["sku"] == key
    assert shop.order(external_id=key)["external_id"] == key


@pytest.mark.parametrize("more", ["\n", "\r\n", "\t", "\u00a0", "\u2007", "\u3000", "\u2028"])
def test_a_key_is_not_another_one_for_a_line_end_or_a_blank_that_looks_ordinary(shop: Shop, more: str) -> None:
    user, item = shop.user()["id"], {"product_id": shop.product()["id"], "quantity": 1}
    for key in (f"ORD{more}1", f"ORD 1{more}"):
        answers = [
            shop.post("/orders", json={"user_id": user, "items": [item], "external_id": key}),
            shop.post("/products", json={"sku": key, "name": "Tea", "price": 1, "currency": "EUR"}),
        ]
        assert [it.json()["errors"][0]["code"] for it in answers] == ["hidden-character"] * 2


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("/users?email=ada+tea@lost.example", "email"),  # a + that was not escaped
        ("/users?external_id=undefined", "external_id"),
        ("/orders?external_id=null", "external_id"),
        ("/products?sku=%24%7BSKU%7D", "sku"),
    ],
)
def test_a_key_that_nothing_can_have_is_not_answered_as_one_that_nothing_has(
    shop: Shop, query: str, parameter: str
) -> None:
    answer = shop.get(query)
    assert (answer.status_code, answer.json()["parameter"]) == (400, parameter)


@pytest.mark.parametrize("around", ["<{}>", "mailto:{}", "{};", "'{}'", "{}.", '"{}"', "{},", "({})"])
def test_an_address_with_marks_around_it_is_refused(shop: Shop, around: str) -> None:
    for email in (around.format("ada@around.example"), around.format("o'ada@around.example")):
        answer = shop.post("/users", json={"name": "Ada", "email": email})
        assert [(it["pointer"], it["code"]) for it in answer.json()["errors"]] == [("/email", "email")]


@pytest.mark.parametrize(
    "name",
    ["#N/A", "NULL", "\\N", "undefined", "{{name}}", "[object Object]", "${name}"],
)
def test_a_lost_name_is_no_name(shop: Shop, name: str) -> None:
    user = shop.user()
    for answer in (
        shop.put(f"/users/{user['id']}", json={"name": name, "email": user["email"]}),
        shop.post("/products", json={"sku": "named", "name": name, "price": 1, "currency": "EUR"}),
    ):
        assert [(it["pointer"], it["code"]) for it in answer.json()["errors"]] == [("/name", "lost-value")]


@pytest.mark.parametrize(
    "name", ["Null", "Nan Nan", "Undefined Studio", "$5", "100 %", "<b>Assam Tea</b>", "Na NA", "Tea => new (2026)"]
)
def test_a_name_that_only_looks_like_a_lost_one_is_taken(shop: Shop, name: str) -> None:
    assert shop.user(name=name)["name"] == name


def test_a_condition_is_not_dropped(shop: Shop) -> None:
    """Two tokens, and a condition that only reads take."""
    user = shop.user()
    tokens = [("Sync-Token", "1"), ("Sync-Token", "999999")]
    answers = [
        shop.http.get("/orders", headers=tokens),
        shop.put(f"/users/{user['id']}", json={"name": "B", "email": user["email"]}, headers={"If-None-Match": "*"}),
        shop.delete(f"/users/{user['id']}", headers={"If-None-Match": '"1"'}),
    ]
    assert [(it.status_code, it.json()["code"]) for it in answers] == [(400, "invalid-header")] * 3


def test_a_null_body_is_refused_where_a_body_is_required(shop: Shop) -> None:
    answer = shop.post("/users", content=b"null", headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


def test_a_key_is_recognised_by_a_release_that_adds_an_optional_member(shop: Shop) -> None:
    """A member that is absent, or has its default, leaves no trace in the fingerprint of a request."""
    product = shop.product()
    body = {"user_id": shop.user()["id"], "items": [{"sku": product["sku"], "quantity": 1}]}
    headers = {"Idempotency-Key": "defaults"}
    first = shop.post("/orders", json=body, headers=headers)
    again: dict[str, Any] = body | {"note": None, "external_id": None}
    second = shop.post("/orders", json=again, headers=headers)
    assert second.headers["idempotency-replayed"] == "true"
    assert second.content == first.content
    another = shop.post("/orders", json=body | {"note": "another"}, headers=headers)
    assert another.json()["code"] == "idempotency-key-reused"


def test_no_optional_member_has_a_default_that_says_something() -> None:
    """Else its fingerprint would change with the default."""
    model: type[BaseModel] = PlaceOrderBody
    assert all(it.default is None for it in model.model_fields.values() if not it.is_required())


def test_a_database_that_is_away_is_answered_without_its_address(tmp_path: Any) -> None:
    url = f"postgresql://secret-user@/secret-database?host={tmp_path}"
    with served(url) as shop:
        for answer in (shop.post("/users", json={"name": "A", "email": "a@b.c"}), shop.get("/users")):
            assert answer.status_code == 503
            assert answer.json()["code"] == "unavailable"
            for inner in ("secret", str(tmp_path), "socket", "connection to server"):
                assert inner not in answer.text
        assert "secret" not in shop.get("/readyz").text
