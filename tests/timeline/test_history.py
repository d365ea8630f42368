"""GET of a resource's history: what happened, in words, with what it changed."""

from collections.abc import Iterator
from typing import Any

import pytest

from eventlog.events import SCHEMA_VERSIONS, UserDeleted
from tests.builders import append_events, new_event
from tests.served import Shop, problem, served

NOBODY = "0197c1c2-7d8e-7000-8000-000000000001"


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with served(module_database_url) as shop:
        yield shop


def history(shop: Shop, path: str, query: str = "") -> list[dict[str, Any]]:
    answer = shop.get(f"{path}/history{query}")
    assert answer.status_code == 200, answer.text
    steps: list[dict[str, Any]] = answer.json()["data"]
    return steps


def changes(step: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {change["field"]: (change["before"], change["after"]) for change in step["changes"]}


def test_the_history_of_an_order_lists_its_events(shop: Shop) -> None:
    tea, salt = shop.product(sku="tea", price="2.50"), shop.product(sku="salt", price="0.50")
    order = shop.order((tea, 3), (salt, 1), note="by noon")
    path = f"/orders/{order['id']}"
    cancel = {"lines": [{"line": 1, "quantity": 2}], "reason": "too many"}
    shop.post(f"{path}/cancel", json=cancel, headers={"X-Request-Id": "r-1"})
    shop.post(f"{path}/cancel", json={})
    placed, first, rest = history(shop, path)

    assert placed["text"] == f"Placed: 3 x tea, 1 x salt, 8.00 EUR, by user {order['user_id']}"
    assert first["text"] == "Cancelled 2 x tea, 5.00 EUR: too many"
    assert rest["text"] == "Cancelled all that was left, 1 x tea, 1 x salt, 3.00 EUR"
    assert [step["version"] for step in (placed, first, rest)] == [1, 2, 3]
    assert [step["type"] for step in (placed, first, rest)] == ["OrderPlaced", "OrderLinesCancelled", "OrderCancelled"]
    events = shop.get(f"{path}/events").json()["data"]
    assert [(it["position"], it["at"]) for it in (placed, first, rest)] == [
        (it["position"], it["occurred_at"]) for it in events
    ]

    line = {key: value for key, value in order["items"][0].items() if key != "cancelled_quantity"}
    assert changes(placed)["items.1"] == (None, line)
    assert changes(placed)["note"] == (None, "by noon")
    assert "version" not in changes(placed)
    assert changes(first) == {
        "status": ("placed", "partially_cancelled"),
        "cancelled_total": ("0.00", "5.00"),
        "cancel_reason": (None, "too many"),
        "items.1.cancelled_quantity": (0, 2),
    }
    assert changes(rest) == {
        "status": ("partially_cancelled", "cancelled"),
        "cancelled_total": ("5.00", "8.00"),
        "cancelled_at": (None, rest["at"]),
        "items.1.cancelled_quantity": (2, 3),
        "items.2.cancelled_quantity": (0, 1),
    }


def test_a_product_tells_of_its_price_its_name_and_its_stock(shop: Shop) -> None:
    product = shop.product(sku="mint", name="Mint", price="2.50", stock=1)
    path = f"/products/{product['id']}"
    order = shop.order((product, 1))
    shop.post(f"/orders/{order['id']}/cancel", json={})
    shop.put(path, json={"name": "Peppermint", "price": "3"})
    shop.delete(path)
    added, stocked, reserved, released, renamed, repriced, discontinued = history(shop, path)
    assert added["text"] == "Added: Mint (mint) at 2.50 EUR"
    assert stocked["text"] == "Stock adjusted by +1 to 1: initial stock"
    assert reserved["text"] == f"1 piece reserved for order {order['id']}, 0 left"
    assert changes(reserved) == {"stock": (1, 0), "in_stock": (True, False)}
    assert released["text"] == f"1 piece released by order {order['id']}, 1 left"
    assert (renamed["text"], repriced["text"]) == ("Renamed to Peppermint", "Price is now 3.00")
    assert changes(repriced) == {"price": ("2.50", "3.00")}
    assert (discontinued["text"], changes(discontinued)) == ("Discontinued", {"discontinued": (False, True)})


def test_a_deleted_user_still_has_a_history(shop: Shop) -> None:
    user = shop.user(name="Ada", email="ada@history.example")
    path = f"/users/{user['id']}"
    shop.put(path, json={"name": "Ada L.", "email": "lovelace@history.example"})
    shop.delete(path)
    registered, changed, deleted = history(shop, path)
    assert registered["text"] == "Registered: Ada, ada@history.example"
    assert changed["text"] == "Changed: name is now Ada L., e-mail address is now lovelace@history.example"
    assert changes(changed)["email"] == ("ada@history.example", "lovelace@history.example")
    assert (deleted["text"], changes(deleted)) == ("Deleted", {"deleted_at": (None, deleted["at"])})


def test_a_history_comes_page_by_page_with_the_same_changes(shop: Shop) -> None:
    product = shop.product(stock=100)
    path = f"/products/{product['id']}"
    for number in range(5):
        shop.post(f"{path}/stock", json={"delta": -1, "reason": f"number {number}"})
        shop.put(path, json={"name": f"Name {number}", "price": f"{number}.50"})
    whole = history(shop, path)
    assert len(whole) == 2 + 5 * 3
    pages, url = [], f"{path}/history?limit=4"
    while url:
        answer = shop.get(url)
        pages += answer.json()["data"]
        following = answer.json()["next"]
        assert (following is not None) == ("link" in answer.headers)
        url = f"{path}/history?after={following}&limit=4" if following else ""
    assert pages == whole
    assert history(shop, path, "?after=17") == []
    assert history(shop, path, "?after=2147483647") == []


def test_a_wrong_question_is_refused(shop: Shop) -> None:
    path = f"/users/{shop.user()['id']}/history"
    for query in ("limit=0", "limit=1001", "after=-1", "after=x", "after=2147483648"):
        assert problem(shop.get(f"{path}?{query}")) == (400, "invalid-parameter"), query
    assert problem(shop.get(f"{path}?version=1")) == (400, "unknown-parameter")
    for kind in ("orders", "products", "users"):
        assert problem(shop.get(f"/{kind}/{NOBODY}/history")) == (404, "not-found")
        assert problem(shop.get(f"/{kind}/x/history")) == (404, "not-found")
    ahead = {"Sync-Token": str(shop.head() + 1), "Prefer": "wait=0"}
    assert problem(shop.get(path, headers=ahead)) == (503, "projection-behind")


def test_every_event_has_words_of_its_own() -> None:
    assert all("in_words" in vars(event) for event in SCHEMA_VERSIONS)


def test_an_event_of_a_newer_release_is_named_in_the_answer(database_url: str) -> None:
    stream = f"user-{NOBODY}"
    event = new_event(stream, 1, UserDeleted())
    append_events(database_url, [event._replace(type="UserMerged", data=b"{}")])
    with served(database_url) as shop:
        for question in ("?version=1", "/history", "/explain"):
            answer = shop.get(f"/users/{NOBODY}{question}")
            assert problem(answer) == (503, "unreadable-stream")
            assert "UserMerged version 1 is not known to this release" in answer.json()["detail"]
