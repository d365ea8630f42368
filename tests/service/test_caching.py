"""Which answers a cache may keep: none without asking again."""

from collections.abc import Iterator

import pytest

from projector.follower import Follower
from projector.projections.shop import SHOP
from tests.served import Shop, served


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with served(module_database_url) as shop:
        yield shop


@pytest.fixture(scope="module")
def order(shop: Shop) -> str:
    """The path of an order that the read tables have."""
    path = f"/orders/{shop.order()['id']}"
    projector = Follower(shop.database_url, SHOP)
    projector.sweep()
    projector.close()
    return path


def test_a_cache_asks_again_before_it_serves_a_resource(shop: Shop, order: str) -> None:
    order_answer = shop.get(order)
    user = shop.get(f"/users/{order_answer.json()['user_id']}")
    product = shop.get(f"/products/{order_answer.json()['items'][0]['product_id']}")
    for answer in (order_answer, user, product, shop.http.head(order)):
        assert answer.status_code == 200
        assert "etag" in answer.headers
        assert answer.headers["cache-control"] == "private, no-cache"


def test_an_answer_that_nothing_changed_keeps_the_rule(shop: Shop, order: str) -> None:
    answer = shop.get(order, headers={"If-None-Match": shop.get(order).headers["etag"]})
    assert (answer.status_code, answer.headers["cache-control"]) == (304, "private, no-cache")


@pytest.mark.parametrize(
    "path",
    [
        *["/users", "/products", "/orders", "/orders?limit=1", "/events", "/projections"],
        *["/healthz", "/readyz", "/metrics", "/problems/gone"],
        *["/nowhere", "/orders/not-an-id", "/orders?colour=red", "/orders/01a203bc-750a-7854-90db-1c3dd7ab3d19"],
    ],
)
def test_no_cache_keeps_lists_health_and_problems(shop: Shop, order: str, path: str) -> None:
    assert shop.get(path).headers["cache-control"] == "private, no-store"


def test_no_cache_keeps_events_and_lists_of_one_owner(shop: Shop, order: str) -> None:
    user_id = shop.get(order).json()["user_id"]
    for path in (f"{order}/events", f"/users/{user_id}/orders"):
        assert shop.get(path).headers["cache-control"] == "private, no-store"


def test_no_cache_keeps_the_answer_to_a_command(shop: Shop, order: str) -> None:
    product = shop.product()
    path = f"/products/{product['id']}"
    changed = shop.put(path, json={"name": "Other", "price": "1.00"})
    refused = shop.put(path, json={"name": "Other"})
    wrong_method = shop.put(order)
    deleted = shop.delete(path)
    assert [it.status_code for it in (changed, refused, wrong_method, deleted)] == [200, 422, 405, 204]
    for answer in (changed, refused, wrong_method, deleted):
        assert answer.headers["cache-control"] == "private, no-store"
