"""What `?dry_run=true` answers, and that it leaves nothing behind."""

import asyncio
import json
import re
from typing import Any
from uuid import uuid4

import httpx
import pytest

from command.domain.refusals import OutOfStock
from command.products import AdjustStock
from command.submission import Answer
from command.trial import Trial
from tests.command.driving import Driver, place, submission
from tests.openapi import COMMANDS
from tests.served import Shop, problem

TRIED = {"dry_run": "true"}


def tried(answer: httpx.Response) -> dict[str, Any]:
    """What the command would do."""
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document.keys() == {"dry_run", "would", "position"}
    assert document["dry_run"] is True
    assert answer.headers["sync-token"] == str(document["position"])
    assert not {"location", "etag", "command-id"} & answer.headers.keys()
    would: dict[str, Any] = document["would"]
    return would


def test_a_dry_run_of_an_order_answers_the_events_and_the_stock(shop: Shop) -> None:
    user, tea, fee = shop.user(), shop.product(stock=10), shop.product(stock=None)
    body = {"user_id": user["id"], "items": [{"sku": tea["sku"], "quantity": n} for n in (3, 1)]}
    body["items"].append({"sku": fee["sku"], "quantity": 1})
    head = shop.head()
    answer = shop.post("/orders", json=body, params=TRIED)
    would = tried(answer)
    assert answer.json()["position"] == head
    assert shop.head() == head
    assert would["status"] == 201
    assert [(it["type"], it["version"]) for it in would["events"]] == [("OrderPlaced", 1), ("StockReserved", 3)]
    assert would["stock"] == [{"product_id": tea["id"], "sku": tea["sku"], "before": 10, "after": 6}]
    real = shop.post("/orders", json=body)
    own = {"id", "placed_at", "updated_at"}
    assert {k: v for k, v in would["resource"].items() if k not in own} == {
        k: v for k, v in real.json().items() if k not in own
    }
    happened = shop.events(real.headers["location"])
    assert [(it["type"], it["data"]) for it in would["events"] if it["stream"].startswith("order-")] == happened


def test_every_command_can_be_tried(shop: Shop) -> None:
    product, order, user = shop.product(), shop.order(), shop.user()
    ordered = {"user_id": user["id"], "items": [{"product_id": product["id"], "quantity": 1}]}
    head = shop.head()
    mail = f"{uuid4()}@example.org"
    commands: list[tuple[str, str, dict[str, Any] | None, int, list[str]]] = [
        ("POST", "/users", {"name": "Ada", "email": mail}, 201, ["UserRegistered"]),
        ("PUT", f"/users/{user['id']}", {"name": "Bob", "email": user["email"]}, 200, ["UserChanged"]),
        ("DELETE", f"/users/{user['id']}", None, 204, ["UserDeleted"]),
        ("POST", "/products", _product(), 201, ["ProductAdded", "StockAdjusted"]),
        ("PUT", f"/products/{product['id']}", {"name": "x", "price": "2.50"}, 200, ["ProductChanged"]),
        ("DELETE", f"/products/{product['id']}", None, 204, ["ProductDiscontinued"]),
        ("POST", f"/products/{product['id']}/stock", {"delta": -4, "reason": "x"}, 200, ["StockAdjusted"]),
        ("POST", "/orders", ordered, 201, ["OrderPlaced", "StockReserved"]),
        ("POST", f"/orders/{order['id']}/cancel", None, 200, ["OrderCancelled", "StockReleased"]),
    ]
    assert sorted((method, re.sub("/[^/]{36}", "/{id}", path)) for method, path, *_ in commands) == COMMANDS
    for method, path, body, status, types in commands:
        would = tried(shop.http.request(method, path, json=body, params=TRIED))
        assert (would["status"], [it["type"] for it in would["events"]]) == (status, types)
        assert (would["resource"] is None) == (status == 204)
    assert shop.head() == head
    assert shop.post("/users", json={"name": "Ada", "email": mail}).status_code == 201, "the address is still free"
    assert shop.delete(f"/users/{user['id']}").status_code == 204


def _product() -> dict[str, Any]:
    return {"sku": uuid4().hex, "name": "Tea", "price": "1", "currency": "EUR", "stock": 4}


def test_trying_a_command_that_would_be_refused_is_refused_in_the_same_way(shop: Shop) -> None:
    user, tea = shop.user(), shop.product(stock=1)
    order = {"user_id": user["id"], "items": [{"sku": tea["sku"], "quantity": 2}]}
    for method, path, body, headers in (
        ("POST", "/orders", order, {}),
        ("POST", "/orders", order | {"user_id": str(uuid4())}, {}),
        ("POST", "/users", {"name": "x", "email": user["email"]}, {}),
        ("POST", "/users", {"name": ""}, {}),
        ("PUT", f"/users/{user['id']}", {"name": "x", "email": "x@example.org"}, {"If-Match": '"7"'}),
        ("POST", "/orders/7/cancel", None, {}),
    ):
        answers = [shop.http.request(method, path, json=body, headers=headers, params=it) for it in (TRIED, None)]
        told = [answer.json() | {"instance": None} for answer in answers]
        assert told[0] == told[1]
        assert answers[0].status_code >= 400


def test_a_key_of_a_trial_is_free_afterwards(shop: Shop) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    body = _product()
    tried(shop.post("/products", json=body, headers=key, params=TRIED))
    made = shop.post("/products", json=body, headers=key)
    assert (made.status_code, "idempotency-replayed" in made.headers) == (201, False)
    assert tried(shop.post("/products", json=_product(), headers=key, params=TRIED))["status"] == 201


def test_a_trial_counts_as_no_command(shop: Shop) -> None:
    def counted() -> list[str]:
        lines = shop.get("/metrics").text.splitlines()
        return [line for line in lines if 'command="RegisterUser"' in line]

    before = counted()
    tried(shop.post("/users", json={"name": "Ada", "email": f"{uuid4()}@example.org"}, params=TRIED))
    assert counted() == before


@pytest.mark.parametrize(
    "query", ["dry_run", "dry_run=1", "dry_run=TRUE", "dry_run=true&dry_run=false", "dry_run=true&dry_run=true"]
)
def test_a_value_other_than_true_and_false_is_refused_and_changes_nothing(shop: Shop, query: str) -> None:
    head = shop.head()
    answer = shop.post(f"/products?{query}", json=_product())
    assert problem(answer) == (400, "invalid-parameter")
    assert shop.head() == head


def test_false_does_it(shop: Shop) -> None:
    assert shop.post("/products?dry_run=false", json=_product()).status_code == 201


@pytest.mark.anyio
async def test_commands_of_the_same_batch_do_not_see_a_trial(writer: Driver) -> None:
    user, product = await writer.user(), await writer.product(stock=10)
    trial = Trial(place(user, (product, 4)), "2026-01-01T00:00:00Z")
    batches = writer.writer.batches
    commands = [trial, place(user, (product, 7)), trial]
    answers = await asyncio.gather(*[writer.submit(submission(it)) for it in commands], return_exceptions=True)
    assert writer.writer.batches == batches + 1
    tried, placed, refused = answers
    assert isinstance(tried, Answer)
    assert isinstance(placed, Answer)
    assert json.loads(tried.body)["stock"][0]["after"] == 6
    assert placed.appended == 2
    assert isinstance(refused, OutOfStock)
    assert json.loads((await writer.do(AdjustStock(product, 1, "counted", None))).body)["stock"] == 4
