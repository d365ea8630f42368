"""GET of what explains a resource: for each field the event that set it last."""

from collections.abc import Iterator
from typing import Any

import pytest

from eventlog.events import UserChanged, UserRegistered
from tests.builders import append_events, new_event
from tests.served import Shop, problem, served

NOBODY = "0197c1c2-7d8e-7000-8000-000000000001"


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with served(module_database_url) as shop:
        yield shop


def explained(shop: Shop, path: str, query: str = "") -> dict[str, dict[str, Any]]:
    answer = shop.get(f"{path}/explain{query}")
    assert answer.status_code == 200, answer.text
    return {field["field"]: field for field in answer.json()["data"]}


def assembled(fields: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The resource, put together from the values of its fields."""
    resource: dict[str, Any] = {}
    for name, field in fields.items():
        match name.split("."):
            case [plain]:
                resource[plain] = field["value"]
            case ["items", _]:
                resource.setdefault("items", []).append(dict(field["value"]))
            case ["items", _, member]:
                resource["items"][-1][member] = field["value"]
    return resource


def test_an_orders_fields_name_the_events_that_set_them(shop: Shop) -> None:
    order = shop.order((shop.product(), 3), (shop.product(), 1), note="by noon")
    path = f"/orders/{order['id']}"
    cancel = {"lines": [{"line": 2, "quantity": 1}], "reason": "too many"}
    left = shop.post(f"{path}/cancel", json=cancel, headers={"X-Request-Id": "r-1"}).json()
    fields = explained(shop, path)
    assert assembled(fields) == left
    by_cancelling = {name for name, field in fields.items() if field["version"] == 2}
    assert by_cancelling == {
        *("status", "cancelled_total", "cancel_reason", "version", "updated_at"),
        "items.2.cancelled_quantity",
    }
    placed, cancelled = shop.get(f"{path}/events").json()["data"]
    for name, event in (("note", placed), ("status", cancelled)):
        for member in ("version", "position", "type", "occurred_at", "recorded_at"):
            assert fields[name][member] == event[member]
    assert fields["status"]["request_id"] == "r-1"
    assert fields["note"]["request_id"] not in {None, "r-1"}  # the service made one
    assert fields["status"]["actor"]["kind"] == "anyone"


def test_it_explains_the_resource_as_it_was(shop: Shop) -> None:
    product = shop.product(stock=5)
    path = f"/products/{product['id']}"
    shop.put(path, json={"name": product["name"], "price": "9"})
    shop.put(path, json={"name": "Other", "price": "9"})
    answer = shop.get(f"{path}/explain?version=3")
    assert answer.json()["version"] == 3
    assert int(answer.headers["sync-token"]) == shop.head()
    fields = explained(shop, path, "?version=3")
    assert assembled(fields) == shop.get(f"{path}?version=3").json()
    assert {name: fields[name]["version"] for name in ("name", "price", "stock", "in_stock", "version")} == {
        "name": 1,
        "price": 3,
        "stock": 2,
        "in_stock": 2,
        "version": 3,
    }
    assert explained(shop, path)["name"]["version"] == 4


def test_one_field_can_be_asked_for(shop: Shop) -> None:
    order = shop.order((shop.product(), 3), (shop.product(), 1))
    path = f"/orders/{order['id']}"
    assert list(explained(shop, path, "?field=status")) == ["status"]
    assert list(explained(shop, path, "?field=items.2")) == ["items.2", "items.2.cancelled_quantity"]
    assert list(explained(shop, path, "?field=items.2.cancelled_quantity")) == ["items.2.cancelled_quantity"]
    assert len(explained(shop, path, "?field=items")) == 4
    for name in ("stats", "items.3", "item", "email_key"):
        answer = shop.get(f"{path}/explain?field={name}")
        assert problem(answer) == (400, "invalid-parameter")
    assert "It has: id, external_id, user_id, status" in answer.json()["detail"]


def test_actor_and_request_are_those_of_the_metadata(database_url: str) -> None:
    stream = f"user-{NOBODY}"
    registered = new_event(stream, 1, UserRegistered("Ada", "a@example.org", "a@example.org", None))
    told = {
        b'{"actor":{"kind":"key","id":"k-1"},"request_id":"r-9"}': ({"kind": "key", "id": "k-1"}, "r-9"),
        b'{"actor":{"kind":"anyone"}}': ({"kind": "anyone", "id": None}, None),
        b'{"actor":7,"request_id":7}': (None, None),
        b"{}": (None, None),
    }
    renamed = new_event(stream, 1, UserChanged(name="B"))
    events = [registered._replace(metadata=b"{}")]
    events += [renamed._replace(version=number, metadata=it) for number, it in enumerate(told, 2)]
    append_events(database_url, events)
    with served(database_url) as shop:
        for number, expected in enumerate(told.values(), 2):
            field = explained(shop, f"/users/{NOBODY}", f"?version={number}&field=name")["name"]
            assert (field["actor"], field["request_id"]) == expected
        (step,) = shop.get(f"/users/{NOBODY}/history?after=1&limit=1").json()["data"]
        assert step["actor"] == {"kind": "key", "id": "k-1"}


def test_a_deleted_user_is_explained_too(shop: Shop) -> None:
    user = shop.user()
    path = f"/users/{user['id']}"
    shop.delete(path)
    deleted = explained(shop, path)["deleted_at"]
    assert (deleted["version"], deleted["type"], deleted["value"]) == (2, "UserDeleted", deleted["occurred_at"])
    assert explained(shop, path, "?version=1")["deleted_at"]["value"] is None


def test_a_missing_resource_is_not_explained(shop: Shop) -> None:
    path = f"/orders/{shop.order()['id']}/explain"
    for query in ("?version=2", "?as_of=2001-01-01T00:00:00Z"):
        assert problem(shop.get(f"{path}{query}")) == (404, "not-found")
    assert problem(shop.get(f"{path}?as_of=2999-01-01T00:00:00Z")) == (400, "invalid-parameter")
    assert problem(shop.get(f"{path}?limit=1")) == (400, "unknown-parameter")
    for kind in ("orders", "products", "users"):
        assert problem(shop.get(f"/{kind}/{NOBODY}/explain")) == (404, "not-found")
