"""The checker on a healthy service: it has nothing to say, whatever happens there."""

from contextlib import closing
from typing import Any

from projector.follower import Follower
from projector.projections.shop import SHOP
from tests.checker.check import assert_nothing_wrong
from tests.checker.history import History, Outcome
from tests.checker.shopper import Shopper
from tests.served import served


def body_of_order(user: str, *items: tuple[str, int], **fields: object) -> dict[str, Any]:
    lines = [{"product_id": product, "quantity": quantity} for product, quantity in items]
    return {"user_id": user, "items": lines} | fields


def test_a_healthy_service_has_no_findings(database_url: str) -> None:
    """Every kind of command; with and without key, repeated, refused, and without effect."""
    history = History()
    with served(database_url) as shop, Shopper(history, str(shop.http.base_url)) as shopper:
        ada = shopper.once("POST", "/users", {"name": "Ada", "email": "Ada@example.org", "external_id": "u1"}).body[
            "id"
        ]
        bob = shopper.once("POST", "/users", {"name": "Bob", "email": "bob@example.org"}).body["id"]
        tea = shopper.once(
            "POST", "/products", {"sku": "tea", "name": "Tea", "price": 2.5, "currency": "EUR", "stock": 40}
        ).body["id"]
        post = shopper.once(
            "POST", "/products", {"sku": "post", "name": "Post", "price": "0.1250", "currency": "EUR", "stock": None}
        ).body["id"]
        shopper.once("PUT", f"/products/{tea}", {"name": "Green tea", "price": "3"})
        shopper.once("PUT", f"/products/{tea}", {"name": "Green tea", "price": "3.00"})
        shopper.once("PUT", f"/users/{ada}", {"name": "Ada L.", "email": "ada@example.com"})
        order = shopper.once("POST", "/orders", body_of_order(ada, (tea, 3), (post, 1), (tea, 2)), key="k1")
        again = history.commands["place-order-8"]
        assert shopper.send(again).content == order.content
        place = f"/orders/{order.body['id']}/cancel"
        shopper.once(
            "POST", place, {"reason": "one", "lines": [{"line": 1, "quantity": 1}, {"line": 1, "quantity": 1}]}
        )
        shopper.once("POST", place, {"reason": "all"}, key="k2")
        shopper.once("POST", place, {"reason": "all again"})
        too_many = shopper.once("POST", "/orders", body_of_order(bob, (tea, 41), external_id="o1"))
        assert too_many.outcome is Outcome.REJECTED
        shopper.persist("POST", "/orders", body_of_order(bob, (tea, 39), external_id="o1"))
        taken = shopper.once("POST", "/orders", body_of_order(bob, (tea, 1), external_id="o1"))
        assert taken.code == "duplicate-external-id"
        for delta in (100, -1):
            token = shopper.once("POST", f"/products/{tea}/stock", {"delta": delta, "reason": "counted"}).position
        for _ in range(40):
            shopper.once("POST", "/orders", body_of_order(ada, (tea, 1)))
        for path in (f"/users/{bob}", f"/products/{tea}", f"/users/{bob}"):
            shopper.once("DELETE", path)
        with closing(Follower(database_url, SHOP)) as projector:
            projector.catch_up()
        for path in (f"/users/{ada}", f"/products/{tea}", f"/orders/{order.body['id']}"):
            assert shopper.read(path, token)
    assert len(history.reads) == 3
    assert_nothing_wrong(database_url, history)
