"""What is taken: texts as they were sent, and amounts in every form that JSON has for them."""

import json
import re

import pytest

from tests.served import Shop


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        *[
            ("2.5", "2.50"),
            ("1e-4", "0.0001"),
            ("25e-1", "2.50"),
            ("1E+3", "1000.00"),
            ("-0", "0.00"),
            ("-0.0", "0.00"),
        ],
        *[
            ("12.500000", "12.50"),
            ('"12.500000"', "12.50"),
            ("12.0", "12.00"),
            ("12.00000000000000000000000000000", "12.00"),
        ],
        *[("0e999999999", "0.00"), ("0.1", "0.10"), ("999999999999.9999", "999999999999.9999"), ('"007.5"', "7.50")],
    ],
)
def test_an_amount_may_be_a_json_number(shop: Shop, price: str, shown: str) -> None:
    product = shop.product()
    body = json.dumps({"name": "Tea", "price": "X"}).replace('"X"', price)
    answer = shop.put(f"/products/{product['id']}", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["price"]) == (200, shown)


@pytest.mark.parametrize("price", ["2.5", '"2.5"', '"2.500"', "2.50", "25e-1"])
def test_the_same_price_in_another_form_changes_nothing(shop: Shop, price: str) -> None:
    product = shop.product(price="2.50")
    body = json.dumps({"name": product["name"], "price": "X"}).replace('"X"', price)
    answer = shop.put(f"/products/{product['id']}", content=body, headers={"Content-Type": "application/json"})
    assert answer.json() == product


@pytest.mark.parametrize("number", ["3", "3.0", "3.000000", "-3.0"])
def test_an_integer_may_have_zeros_behind_its_point(shop: Shop, number: str) -> None:
    path = f"/products/{shop.product(stock=10)['id']}/stock"
    body = '{"delta": X, "reason": "counted"}'.replace("X", number)
    answer = shop.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["stock"]) == (200, 10 + int(float(number)))


def test_a_byte_order_mark_before_a_body_is_skipped(shop: Shop) -> None:
    body = b'\xef\xbb\xbf{"name": "Ada", "email": "bom@example.org"}'
    assert shop.post("/users", content=body, headers={"Content-Type": "application/json"}).status_code == 201


@pytest.mark.parametrize(
    "name", ["Zoë 🫖", "tab\tand\nline\r\n", " blanks ", '"quoted" \\ /', "x" * 200, "\x7f\x85", "'; --"]
)
def test_a_text_is_kept_as_it_was_sent(shop: Shop, name: str) -> None:
    user = shop.user(name=name)
    assert user["name"] == name
    assert shop.events(f"/users/{user['id']}")[0][1]["name"] == name


def test_a_surrogate_pair_is_one_character(shop: Shop) -> None:
    body = '{"name": "\\ud83e\\uded6", "email": "tea@example.org"}'
    answer = shop.post("/users", content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["name"] == "🫖"


def test_lengths_are_counted_in_characters(shop: Shop) -> None:
    assert len(shop.user(name="🫖" * 200)["name"]) == 200


@pytest.mark.parametrize("sent", [b"x" * 201, b"\xe9", b"a\tb"])
def test_a_request_id_that_no_answer_can_carry_is_replaced(shop: Shop, sent: bytes) -> None:
    body = {"name": "Ada", "email": f"ada{len(sent)}{sent[0]}@request.example"}
    answer = shop.post("/users", json=body, headers={b"X-Request-Id": sent})
    assert answer.status_code == 201
    made = answer.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", made)
    ((kept,),) = shop.rows("SELECT metadata->>'request_id' FROM log.events WHERE position = %s", shop.head())
    assert kept == made


def test_a_problem_names_its_request_in_its_instance(shop: Shop) -> None:
    named = shop.get("/nowhere", headers={"X-Request-Id": "shop 17/a%"})
    assert named.json()["instance"] == "urn:request:shop%2017/a%25"
    unnamed = shop.get("/nowhere")
    assert unnamed.json()["instance"] == f"urn:request:{unnamed.headers['x-request-id']}"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/users", None, 200),
        ("HEAD", "/users", None, 200),
        ("GET", "/users?limit=0", None, 400),
        ("GET", "/users/none", None, 404),
        ("GET", "/nowhere", None, 404),
        ("PATCH", "/users", None, 405),
        ("POST", "/users", "{", 400),
        ("POST", "/users", "{}", 422),
        ("POST", "/users", "x" * 2_000_000, 413),
        ("POST", "/users", '{"name": "Ada", "email": "ada@echo.example"}', 201),
        ("GET", "/users?" + "x" * 10_000, None, 414),
        ("GET", "/docs", None, 200),
        ("GET", "/metrics", None, 200),
    ],
)
def test_a_request_id_comes_back_on_every_answer(
    shop: Shop, method: str, path: str, body: str | None, status: int
) -> None:
    sent = "a b~" * 50
    headers = {"X-Request-Id": sent, "Content-Type": "application/json"}
    answer = shop.http.request(method, path, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers.get_list("x-request-id") == [sent]


@pytest.mark.parametrize("name", [" \t", "\u200b", "\u2060 \ufeff", "\u00ad", "\u3164", "\u2800\uffa0", "\u034f\ufe0f"])
def test_a_text_that_shows_nothing_is_blank(shop: Shop, name: str) -> None:
    answer = shop.post("/users", json={"name": name, "email": "ada@example.org"})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "blank")


@pytest.mark.parametrize("hidden", ["\ufeff", "\u200b", "\u202a", "\u00ad", "\u3164"])
def test_a_key_has_no_characters_that_nobody_sees(shop: Shop, hidden: str) -> None:
    """An address copied with a byte order mark would be another key than the one without it."""
    user, product = {"name": "Ada", "email": "hidden@example.org"}, {"name": "Tea", "price": 1, "currency": "EUR"}
    for path, body in [
        ("/users", user | {"email": f"{hidden}hidden@example.org"}),
        ("/users", user | {"external_id": f"{hidden}ada"}),
        ("/products", product | {"sku": f"tea{hidden}"}),
    ]:
        answer = shop.post(path, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "hidden-character")
    assert shop.post("/users", json=user | {"name": f"{hidden}Ada"}).status_code in {201, 409}
