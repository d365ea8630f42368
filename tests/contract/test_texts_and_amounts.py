"""What is taken: texts as they were sent, and amounts in every form that JSON has for them."""

import json

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


def test_a_request_id_is_kept_up_to_a_bound_and_never_echoed(shop: Shop) -> None:
    body = {"name": "Ada", "email": "ada@request.example"}
    answer = shop.post("/users", json=body, headers={b"X-Request-Id": b"\xe9" + b"x" * 5_000})
    assert answer.status_code == 201
    assert len(answer.headers["x-request-id"]) == 36
    ((kept,),) = shop.rows("SELECT metadata->>'request_id' FROM log.events WHERE position = %s", shop.head())
    assert (len(kept), kept[-1]) == (200, "x")
