"""GET of one resource with ?version= and ?as_of=."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.projecting import sweep
from tests.served import Shop, problem, served

NOBODY = "0197c1c2-7d8e-7000-8000-000000000001"


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with served(module_database_url) as shop:
        yield shop


@pytest.fixture(scope="module")
def cancelled(shop: Shop) -> list[dict[str, Any]]:
    """An order, as each of its three commands answered it."""
    placed = shop.order((shop.product(), 3), (shop.product(price="0.125"), 1), note="by noon")
    bodies: list[dict[str, Any]] = [{"lines": [{"line": 1, "quantity": 2}], "reason": "too many"}, {}]
    return [placed, *[shop.post(f"/orders/{placed['id']}/cancel", json=body).json() for body in bodies]]


def recorded_at(shop: Shop, stream: str, version: int) -> datetime:
    query = "SELECT recorded_at FROM log.events WHERE stream = %s AND version = %s"
    ((time,),) = shop.rows(query, stream, version)
    assert isinstance(time, datetime)
    return time


def rfc3339(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z").replace("+", "%2B")


def test_each_version_of_an_order_equals_the_answer_of_its_command(shop: Shop, cancelled: list[dict[str, Any]]) -> None:
    path = f"/orders/{cancelled[0]['id']}"
    for number, expected in enumerate(cancelled, 1):
        answer = shop.get(f"{path}?version={number}")
        assert answer.json() == expected
        assert answer.headers["etag"] == f'"{number}"'
        assert answer.headers["content-location"] == f"{path}?version={number}"
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert int(answer.headers["sync-token"]) == shop.head()


def test_the_last_version_equals_the_answer_of_the_read_tables(shop: Shop, cancelled: list[dict[str, Any]]) -> None:
    product = shop.product(name='"Tea" \\ \u2028 \U0001f375 é', stock=None)
    user = shop.user(name="Zoë \t</script>", external_id="x")
    sweep(shop.database_url)
    for path in (f"/orders/{cancelled[0]['id']}", f"/products/{product['id']}", f"/users/{user['id']}"):
        now = shop.get(path)
        then = shop.get(f"{path}?version={now.json()['version']}")
        assert then.json() == now.json()
        assert then.headers["content-type"] == now.headers["content-type"]


def test_a_time_means_the_events_that_had_been_recorded_by_then(shop: Shop, cancelled: list[dict[str, Any]]) -> None:
    id_ = cancelled[0]["id"]
    path = f"/orders/{id_}"
    shop.user()  # so that the log has moved on since
    for number, expected in enumerate(cancelled, 1):
        time = recorded_at(shop, f"order-{id_}", number)
        answer = shop.get(f"{path}?as_of={rfc3339(time)}")
        assert answer.json() == expected
        assert answer.headers["content-location"] == f"{path}?version={number}"
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        before = shop.get(f"{path}?as_of={rfc3339(time - timedelta(microseconds=1))}")
        if number == 1:
            assert problem(before) == (404, "not-found")
        else:
            assert before.json() == cancelled[number - 2]


def test_a_time_that_the_log_has_not_passed_yet_is_asked_again(shop: Shop) -> None:
    order = shop.order()
    ((head,),) = shop.rows("SELECT recorded_at FROM log.head")
    at_head = shop.get(f"/orders/{order['id']}?as_of={rfc3339(head)}")
    assert at_head.headers["cache-control"] == "private, no-cache"
    shop.user()
    assert "immutable" in shop.get(f"/orders/{order['id']}?as_of={rfc3339(head)}").headers["cache-control"]


def test_a_moment_that_cannot_be_is_refused(shop: Shop, cancelled: list[dict[str, Any]]) -> None:
    path = f"/orders/{cancelled[0]['id']}"
    ((future,),) = shop.rows("SELECT clock_timestamp() + interval '1 minute'")
    wrong = ["version=0", "version=-1", "version=x", "version=1.0", "version=", "version=2147483648"]
    wrong += ["as_of=yesterday", "as_of=2026-01-01", "as_of=2026-13-01T00:00:00Z", f"as_of={rfc3339(future)}"]
    wrong += ["version=1&version=1", "version=1&as_of=2026-01-01T00:00:00Z"]
    for query in wrong:
        assert problem(shop.get(f"{path}?{query}")) == (400, "invalid-parameter"), query
    assert problem(shop.get(f"{path}?versoin=1")) == (400, "unknown-parameter")
    for query in ("version=4", "version=2147483647", "as_of=1999-12-31T23:59:59Z", "as_of=0001-01-01T00:00:00Z"):
        answer = shop.get(f"{path}?{query}")
        assert problem(answer) == (404, "not-found")
        assert int(answer.headers["sync-token"]) == shop.head()
    for kind in ("orders", "products", "users"):
        assert problem(shop.get(f"/{kind}/{NOBODY}?version=1")) == (404, "not-found")
        assert problem(shop.get(f"/{kind}/x?version=1")) == (404, "not-found")


def test_a_deleted_user_was_there_before_and_is_gone_since(shop: Shop) -> None:
    user = shop.user()
    shop.put(f"/users/{user['id']}", json={"name": "Ada", "email": user["email"]})
    shop.delete(f"/users/{user['id']}")
    path = f"/users/{user['id']}"
    assert shop.get(f"{path}?version=1").json() == user
    assert shop.get(f"{path}?version=2").json()["name"] == "Ada"
    assert problem(shop.get(f"{path}?version=3")) == (410, "gone")
    deleted_at = recorded_at(shop, f"user-{user['id']}", 3)
    assert problem(shop.get(f"{path}?as_of={rfc3339(deleted_at)}")) == (410, "gone")


def test_a_version_that_the_client_has_is_not_sent_again(shop: Shop, cancelled: list[dict[str, Any]]) -> None:
    path = f"/orders/{cancelled[0]['id']}?version=2"
    answer = shop.get(path, headers={"If-None-Match": '"2"'})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["content-location"] == path
    assert shop.get(path, headers={"If-None-Match": '"3"'}).status_code == 200
    head = shop.http.head(path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", '"2"')


def test_the_past_waits_for_a_sync_token_as_the_log_does(shop: Shop, cancelled: list[dict[str, Any]]) -> None:
    path = f"/orders/{cancelled[0]['id']}?version=1"
    assert shop.get(path, headers={"Sync-Token": str(shop.head())}).status_code == 200
    ahead = {"Sync-Token": str(shop.head() + 1), "Prefer": "wait=0"}
    assert problem(shop.get(path, headers=ahead)) == (503, "projection-behind")


def test_the_past_does_not_depend_on_the_read_tables(shop: Shop) -> None:
    order = shop.order()  # which nobody projects
    assert problem(shop.get(f"/orders/{order['id']}"))[0] == 404
    assert shop.get(f"/orders/{order['id']}?version=1").json() == order
