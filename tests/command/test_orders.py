"""What POST /orders and POST /orders/{id}/cancel answer, and what they leave in the log."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.served import Shop, problem

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"


def place(shop: Shop, items: list[dict[str, Any]], **fields: Any) -> httpx.Response:
    """Ask for an order, which may be refused."""
    user_id = fields.pop("user_id", None) or shop.user()["id"]
    return shop.post("/orders", json={"user_id": user_id, "items": items} | fields)


def test_an_order_is_placed(shop: Shop) -> None:
    user, tea, postage = shop.user(), shop.product(price="0.125", stock=10), shop.product(price="4.9", stock=None)
    items = [{"sku": tea["sku"], "quantity": 3}, {"product_id": postage["id"], "quantity": 1}]
    number = uuid4().hex
    answer = place(shop, items, user_id=user["id"].upper(), external_id=number, note="ring twice")
    assert answer.status_code == 201
    order = answer.json()
    at = order["placed_at"]
    lines = [
        {"line": 1, "product_id": tea["id"], "sku": tea["sku"], "name": tea["name"], "quantity": 3}
        | {"cancelled_quantity": 0, "unit_price": "0.125", "amount": "0.375"},
        {"line": 2, "product_id": postage["id"], "sku": postage["sku"], "name": postage["name"], "quantity": 1}
        | {"cancelled_quantity": 0, "unit_price": "4.90", "amount": "4.90"},
    ]
    assert order == {
        "id": order["id"],
        "external_id": number,
        "user_id": user["id"],
        "status": "placed",
        "currency": "EUR",
        "total": "5.275",
        "cancelled_total": "0.00",
        "items": lines,
        "note": "ring twice",
        "cancel_reason": None,
        "placed_at": at,
        "cancelled_at": None,
        "version": 1,
        "updated_at": at,
    }
    assert answer.headers["location"] == f"/orders/{order['id']}"
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["sync-token"] == str(shop.head())
    ((kind, placed),) = shop.events(answer.headers["location"])
    assert (kind, placed["total"], len(placed["items"])) == ("OrderPlaced", "5.275", 2)
    reserved = {"order_id": order["id"], "quantity": 3, "stock_after": 7}
    assert shop.events(f"/products/{tea['id']}")[-1] == ("StockReserved", reserved)
    assert [kind for kind, _ in shop.events(f"/products/{postage['id']}")] == ["ProductAdded"]


def test_the_same_product_on_two_lines_is_one_reservation(shop: Shop) -> None:
    tea = shop.product(stock=5)
    order = shop.order((tea, 2), (tea, 3))
    assert [it["quantity"] for it in order["items"]] == [2, 3]
    assert shop.events(f"/products/{tea['id']}")[2:] == [
        ("StockReserved", {"order_id": order["id"], "quantity": 5, "stock_after": 0})
    ]


def test_a_product_by_sku_and_by_id_is_the_same_product(shop: Shop) -> None:
    tea = shop.product(stock=5)
    answer = place(shop, [{"sku": tea["sku"], "quantity": 3}, {"product_id": tea["id"], "quantity": 3}])
    assert problem(answer) == (409, "insufficient-stock")
    assert [it["requested"] for it in answer.json()["lines"]] == [6, 6]


def test_a_refusal_lists_all_shortages_with_every_line(shop: Shop) -> None:
    tea, cup, pot = shop.product(stock=1), shop.product(stock=9), shop.product(stock=0)
    before = shop.head() + 1  # the user
    items = [{"product_id": it["id"], "quantity": n} for it, n in [(tea, 1), (cup, 9), (pot, 2), (tea, 1)]]
    answer = place(shop, items)
    assert problem(answer) == (409, "insufficient-stock")
    assert answer.json()["retryable"] is False
    assert answer.json()["lines"] == [
        {"line": 1, "product_id": tea["id"], "sku": tea["sku"], "requested": 2, "available": 1},
        {"line": 3, "product_id": pot["id"], "sku": pot["sku"], "requested": 2, "available": 0},
        {"line": 4, "product_id": tea["id"], "sku": tea["sku"], "requested": 2, "available": 1},
    ]
    assert shop.head() == before


def test_a_refusal_names_a_changed_price(shop: Shop) -> None:
    tea, user = shop.product(price="2.50"), shop.user()
    item = {"product_id": tea["id"], "quantity": 1, "expected_unit_price": 2.5}
    shop.put(f"/products/{tea['id']}", json={"name": "Tea", "price": "2.6"})
    answer = place(shop, [item], user_id=user["id"])
    assert problem(answer) == (409, "price-changed")
    assert answer.json()["lines"] == [{"line": 1, "expected_unit_price": "2.50", "unit_price": "2.60"}]
    assert place(shop, [item | {"expected_unit_price": "2.600"}], user_id=user["id"]).status_code == 201


def test_a_duplicate_external_id_names_the_order_that_has_it(shop: Shop) -> None:
    first = shop.order(external_id=uuid4().hex)
    item = {"product_id": first["items"][0]["product_id"], "quantity": 1}
    answer = place(shop, [item], external_id=first["external_id"])
    assert problem(answer) == (409, "duplicate-external-id")
    assert answer.headers["location"] == f"/orders/{first['id']}"
    shop.order(external_id=first["external_id"].upper())
    shop.post(f"/orders/{first['id']}/cancel")
    assert problem(place(shop, [item], external_id=first["external_id"])) == (409, "duplicate-external-id")


def test_only_an_existing_user_can_order(shop: Shop) -> None:
    user, tea = shop.user(), shop.product()
    shop.delete(f"/users/{user['id']}")
    for user_id in (user["id"], UNKNOWN, tea["id"]):
        answer = place(shop, [{"product_id": tea["id"], "quantity": 1}], user_id=user_id)
        assert problem(answer) == (422, "unknown-user")
        assert answer.json()["errors"][0]["pointer"] == "/user_id"
    assert shop.stock(tea) == 10


def test_products_that_are_not_there_or_not_sold_are_named(shop: Shop) -> None:
    tea, gone = shop.product(), shop.product()
    shop.delete(f"/products/{gone['id']}")
    items = [{"sku": "no such"}, {"product_id": tea["id"]}, {"product_id": UNKNOWN}, {"sku": tea["sku"].lower()}]
    answer = place(shop, [it | {"quantity": 1} for it in items])
    assert problem(answer) == (422, "unknown-product")
    assert [it["pointer"] for it in answer.json()["errors"]] == ["/items/0", "/items/2", "/items/3"]
    answer = place(shop, [{"product_id": it["id"], "quantity": 1} for it in (tea, gone)])
    assert problem(answer) == (422, "product-discontinued")
    assert [it["pointer"] for it in answer.json()["errors"]] == ["/items/1"]


def test_an_order_has_one_currency(shop: Shop) -> None:
    products = shop.product(currency="EUR"), shop.product(currency="GBP")
    answer = place(shop, [{"product_id": it["id"], "quantity": 1} for it in products])
    assert problem(answer) == (422, "mixed-currency")
    assert [shop.stock(it) for it in products] == [10, 10]


def test_an_order_keeps_name_and_price_as_they_were(shop: Shop) -> None:
    tea = shop.product(name="Tea", price="2.50")
    order = shop.order((tea, 2))
    shop.put(f"/products/{tea['id']}", json={"name": "Mint", "price": "9"})
    cancelled = shop.post(f"/orders/{order['id']}/cancel").json()
    (item,) = cancelled["items"]
    assert (item["name"], item["unit_price"], cancelled["cancelled_total"]) == ("Tea", "2.50", "5.00")


def test_an_order_of_a_thousand_lines(shop: Shop) -> None:
    tea = shop.product(stock=10**9, price="0.0001")
    order = shop.order(*[(tea, 1_000_000)] * 1_000)
    assert (len(order["items"]), order["total"]) == (1_000, "100000.00")
    assert shop.stock(tea) == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "OPTIONS"])
def test_an_order_is_history_and_the_refusal_names_the_way_to_cancel(shop: Shop, method: str) -> None:
    order = shop.order()
    answer = shop.http.request(method, f"/orders/{order['id']}", headers={"If-Match": '"1"'})
    assert problem(answer) == (405, "method-not-allowed")
    assert f"/orders/{order['id']}/cancel" in answer.json()["detail"]
    assert answer.headers["allow"] == "GET, HEAD"
    assert len(shop.events(f"/orders/{order['id']}")) == 1


def test_methods_that_orders_do_not_take(shop: Shop) -> None:
    for path, methods in {"/orders": "GET, HEAD, POST", f"/orders/{UNKNOWN}/cancel": "POST"}.items():
        answer = shop.http.request("PATCH", path)
        assert problem(answer) == (405, "method-not-allowed")
        assert answer.headers["allow"] == methods
    assert shop.http.head(f"/orders/{UNKNOWN}/cancel").headers["allow"] == "POST"
