"""What POST /orders/{id}/cancel answers, and what it leaves in the log."""

from typing import Any

import httpx
import pytest

from tests.served import Shop, problem

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"


def cancel(shop: Shop, order: dict[str, Any], lines: dict[int, int] | None = None, **body: Any) -> httpx.Response:
    """Ask to cancel an order, or so much of these lines."""
    if lines is not None:
        body["lines"] = [{"line": line, "quantity": quantity} for line, quantity in lines.items()]
    headers = body.pop("headers", {})
    return shop.post(f"/orders/{order['id']}/cancel", json=body, headers=headers)


def test_an_order_is_cancelled_and_restocked(shop: Shop) -> None:
    tea, cup, postage = shop.product(stock=10), shop.product(stock=1), shop.product(stock=None)
    order = shop.order((tea, 3), (cup, 1), (postage, 1), (tea, 1))
    answer = cancel(shop, order, reason="too late")
    assert answer.status_code == 200
    cancelled = answer.json()
    at = cancelled["cancelled_at"]
    items = [it | {"cancelled_quantity": it["quantity"]} for it in order["items"]]
    facts: dict[str, Any] = {"status": "cancelled", "cancelled_total": order["total"], "cancel_reason": "too late"}
    assert cancelled == order | facts | {"items": items, "cancelled_at": at, "updated_at": at, "version": 2}
    assert answer.headers["etag"] == '"2"'
    assert answer.headers["sync-token"] == str(shop.head())
    assert "location" not in answer.headers
    assert (shop.stock(tea), shop.stock(cup)) == (10, 1)
    released = {"order_id": order["id"], "quantity": 4, "stock_after": 10}
    assert shop.events(f"/products/{tea['id']}")[-1] == ("StockReleased", released)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"reason": null}'])
def test_nothing_needs_to_be_said_to_cancel(shop: Shop, body: bytes) -> None:
    order = shop.order()
    headers = {"Content-Type": "application/json"} if body else {}
    answer = shop.post(f"/orders/{order['id']}/cancel", content=body, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


def test_a_cancelled_order_is_cancelled_again_without_a_word(shop: Shop) -> None:
    tea = shop.product(stock=10)
    order = shop.order((tea, 3))
    first = cancel(shop, order, reason="too late")
    before = shop.head()
    again = cancel(shop, order, reason="other", headers={"If-Match": '"1"'})
    assert (again.status_code, again.content, again.headers["etag"]) == (200, first.content, '"2"')
    assert shop.head() == before
    assert shop.stock(tea) == 10


def test_lines_are_cancelled_to_the_end(shop: Shop) -> None:
    tea, cup = shop.product(stock=10, price="2.50"), shop.product(stock=10, price="0.1")
    order = shop.order((tea, 3), (cup, 3))
    seen = []
    for lines in ({1: 2}, {2: 3}, {1: 1}):
        now = cancel(shop, order, lines).json()
        seen.append((now["status"], now["cancelled_total"], [it["cancelled_quantity"] for it in now["items"]]))
        assert (now["total"], [it["amount"] for it in now["items"]]) == ("7.80", ["7.50", "0.30"])
    assert seen == [
        ("partially_cancelled", "5.00", [2, 0]),
        ("partially_cancelled", "5.30", [2, 3]),
        ("cancelled", "7.80", [3, 3]),
    ]
    kinds = [kind for kind, _ in shop.events(f"/orders/{order['id']}")]
    assert kinds == ["OrderPlaced", "OrderLinesCancelled", "OrderLinesCancelled", "OrderCancelled"]
    assert (shop.stock(tea), shop.stock(cup)) == (10, 10)


def test_a_line_named_twice_is_cancelled_by_the_sum(shop: Shop) -> None:
    order = shop.order((shop.product(), 3))
    lines = [{"line": 1, "quantity": 1}, {"line": 1, "quantity": 2}]
    answer = shop.post(f"/orders/{order['id']}/cancel", json={"lines": lines})
    assert (answer.json()["status"], answer.json()["items"][0]["cancelled_quantity"]) == ("cancelled", 3)


def test_no_more_is_cancelled_than_is_left(shop: Shop) -> None:
    order = shop.order((shop.product(), 3), (shop.product(), 1))
    cancel(shop, order, {1: 2})
    before = shop.head()
    answer = cancel(shop, order, {1: 2, 2: 1})
    assert problem(answer) == (409, "quantity-not-cancellable")
    assert answer.json()["lines"] == [{"line": 1, "requested": 2, "cancellable": 1}]
    assert shop.head() == before


def test_of_a_cancelled_order_nothing_is_left(shop: Shop) -> None:
    order = shop.order()
    cancel(shop, order)
    answer = cancel(shop, order, {1: 1})
    assert problem(answer) == (409, "quantity-not-cancellable")
    assert answer.json()["lines"] == [{"line": 1, "requested": 1, "cancellable": 0}]


def test_a_line_that_the_order_does_not_have_is_unknown(shop: Shop) -> None:
    order = shop.order()
    answer = cancel(shop, order, {1: 1, 2: 1})
    assert problem(answer) == (422, "unknown-line")
    assert answer.json()["lines"] == [{"line": 2}]
    assert len(shop.events(f"/orders/{order['id']}")) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"lines": []}, "/lines"),
        ({"lines": [{"line": 1, "quantity": 0}]}, "/lines/0/quantity"),
        ({"lines": [{"line": 0, "quantity": 1}]}, "/lines/0/line"),
        ({"lines": [{"line": 1}]}, "/lines/0/quantity"),
        ({"reason": ""}, "/reason"),
        ({"reason": "x" * 1_001}, "/reason"),
        ({"because": "late"}, "/because"),
    ],
)
def test_a_body_that_says_nothing_sensible_is_refused(shop: Shop, body: dict[str, Any], pointer: str) -> None:
    order = shop.order()
    answer = shop.post(f"/orders/{order['id']}/cancel", json=body)
    assert problem(answer) == (422, "validation-error")
    assert [it["pointer"] for it in answer.json()["errors"]] == [pointer]
    assert len(shop.events(f"/orders/{order['id']}")) == 1


def test_a_stale_version_is_refused(shop: Shop) -> None:
    order = shop.order((shop.product(), 3))
    cancel(shop, order, {1: 1}, headers={"If-Match": '"1"'})
    for lines in (None, {1: 1}):
        answer = cancel(shop, order, lines, headers={"If-Match": '"1"'})
        assert (problem(answer), answer.headers["etag"]) == ((412, "version-mismatch"), '"2"')


@pytest.mark.parametrize("order_id", [UNKNOWN, "17"])
def test_a_missing_resource_is_not_found(shop: Shop, order_id: str) -> None:
    assert problem(shop.post(f"/orders/{order_id}/cancel")) == (404, "not-found")


def test_the_order_of_a_deleted_user_is_cancelled_and_a_discontinued_product_restocked(shop: Shop) -> None:
    user, tea = shop.user(), shop.product(stock=10)
    order = shop.order((tea, 4), user_id=user["id"])
    shop.delete(f"/users/{user['id']}")
    shop.delete(f"/products/{tea['id']}")
    assert cancel(shop, order).json()["status"] == "cancelled"
    assert shop.stock(tea) == 10
