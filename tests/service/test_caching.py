"""Which answers a cache may keep: none without asking again."""

from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest

from projector.follower import Follower
from projector.projections.shop import SHOP
from projector.replay import replay
from tests.served import Shop, served


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with served(module_database_url) as shop:
        yield shop


@pytest.fixture(scope="module")
def order(shop: Shop) -> str:
    """The path of an order that the read tables have."""
    path = f"/orders/{shop.order()['id']}"
    follow(shop.database_url)
    return path


def follow(database_url: str) -> None:
    """Bring the shop's read tables up to date."""
    with closing(Follower(database_url, SHOP)) as projector:
        projector.sweep()


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


def test_a_copy_of_a_damaged_row_is_not_confirmed_once_the_tables_were_rebuilt(shop: Shop, order: str) -> None:
    """The version is the same before and after, so a tag of the version alone would keep the damage for ever."""
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("UPDATE shop.orders SET note = 'damaged' WHERE id = %s", [order.removeprefix("/orders/")])
    damaged = shop.get(order)
    replay(shop.database_url, SHOP, lambda _: None)
    mended = shop.get(order, headers={"If-None-Match": damaged.headers["etag"]})
    assert (damaged.json()["note"], mended.status_code) == ("damaged", 200)
    assert mended.json() == damaged.json() | {"note": None}
    assert shop.get(order, headers={"If-None-Match": mended.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("tag_of", [lambda tag: tag, lambda tag: f"W/{tag}", lambda tag: tag.partition(".")[0] + '"'])
def test_a_tag_that_was_read_is_taken_as_its_version_by_a_command(shop: Shop, tag_of: Callable[[str], str]) -> None:
    """A rebuild of the read tables in between makes the caller no less up to date."""
    path = f"/products/{shop.product()['id']}"
    follow(shop.database_url)
    read = shop.get(path)
    replay(shop.database_url, SHOP, lambda _: None)
    seen = {"If-Match": tag_of(read.headers["etag"])}
    body = {"name": "Other", "price": "2.50"}
    changed = shop.put(path, json=body, headers=seen)
    stale = shop.put(path, json=body | {"name": "Third"}, headers=seen)
    assert (changed.status_code, stale.status_code) == (200, 412)
    assert changed.json()["version"] == read.json()["version"] + 1


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
