"""A customer sees and changes what is his own; another's resource answers exactly as a missing one."""

import json
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from tests import loopback
from tests.access.keyed import OTHER_SESSIONS, bearing, guarded, new_key
from tests.builders import wait_until
from tests.projecting import projected, sweep
from tests.served import Shop, problem

MISSING = "01890a5d-ac96-774b-bcce-b302099a8057"
PAIRS = 200


class House(NamedTuple):
    """A shop with two customers, each with an order."""

    shop: Shop
    ada: httpx.Client
    bob: httpx.Client
    ada_id: str
    bob_id: str
    ada_order: str
    bob_order: str
    sku: str


@pytest.fixture(scope="module")
def house(module_database_url: str) -> Iterator[House]:
    with projected(module_database_url), guarded(module_database_url, writes_per_minute=0, reads_per_minute=0) as shop:
        product = shop.product(stock=1_000)
        users = [shop.user()["id"] for _ in range(2)]
        orders = [shop.order((product, 1), user_id=user)["id"] for user in users]
        keys = [bearing(new_key(module_database_url, "customer", user_id=user)) for user in users]
        base = shop.http.base_url
        with (
            loopback.Client(base_url=base, headers=keys[0]) as ada,
            loopback.Client(base_url=base, headers=keys[1]) as bob,
        ):
            ada.get("/orders", headers={"Sync-Token": str(shop.head()), "Prefer": "wait=20"}).raise_for_status()
            yield House(shop, ada, bob, *users, *orders, product["sku"])


def told(answer: httpx.Response, id_: str) -> tuple[int, bytes, dict[str, str]]:
    """All that an answer says, but for the id that was asked for, the id of the request and the time of day."""
    own = {"date", "command-id", "ratelimit", "x-request-id"}
    headers = {name: value for name, value in answer.headers.items() if name not in own}
    content = answer.content.replace(answer.headers["x-request-id"].encode(), b"REQUEST")
    return answer.status_code, content.replace(id_.encode(), b"ID"), headers


READS = [
    *("/orders/{order}", "/orders/{order}/events", "/users/{user}", "/users/{user}/orders", "/users/{user}/events"),
    *("/orders/{order}?version=1", "/orders/{order}/history", "/orders/{order}/explain"),
    *("/users/{user}?version=1", "/users/{user}/history", "/users/{user}/explain"),
]


@pytest.mark.parametrize("path", READS)
def test_anothers_resource_answers_as_a_missing_one(house: House, path: str) -> None:
    own = house.ada.get(path.format(order=house.ada_order, user=house.ada_id))
    assert own.status_code == 200, own.text
    others, missing = {"order": house.bob_order, "user": house.bob_id}, {"order": MISSING, "user": MISSING}
    id_ = re.findall(r"{(\w+)}", path)[0]
    answers = []
    for ids in (others, missing):
        answer = house.ada.get(path.format(**ids), headers={"If-None-Match": "*"})
        answers.append(told(answer, ids[id_]))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404
    assert house.shop.get(path.format(**others)).status_code == 200  # the operator sees it


def test_tags_times_and_tokens_do_not_reveal_another_customers_resource(house: House) -> None:
    tag = house.shop.get(f"/orders/{house.bob_order}").headers["etag"]
    moment = quote(datetime.now(UTC).isoformat())
    forged = (
        {"If-None-Match": tag},
        {"If-None-Match": '"1"'},
        {"Sync-Token": "1"},
        {"Sync-Token": "999999999999999999", "Prefer": "wait=0"},
        {"Accept-Encoding": "identity", "Range": "bytes=0-10"},
    )
    for path in ("/orders/{}", f"/orders/{{}}?as_of={moment}", "/orders/{}?version=9", "/orders/{}/explain?version=1"):
        for headers in forged:
            answers = []
            for id_ in (house.bob_order, MISSING):
                answer = house.ada.get(path.format(id_), headers=headers)
                assert answer.status_code in {404, 503}, answer.text
                answers.append(told(answer, id_))
            assert answers[0] == answers[1]


@pytest.mark.parametrize("query", ["/orders?limit=1", "/orders?limit=1&sort=total", "/users?limit=1"])
def test_a_cursor_of_an_operator_leads_a_customer_to_own_rows_alone(house: House, query: str) -> None:
    first = house.shop.get(query)
    while cursor := first.json()["next"]:
        answer = house.ada.get(query, params={**httpx.URL(query).params, "cursor": cursor})
        assert answer.status_code in {200, 400}
        for row in answer.json().get("data", ()):
            assert house.ada_id in {row["id"], row.get("user_id")}
        first = house.shop.get(query, params={**httpx.URL(query).params, "cursor": cursor})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/orders/{order}", None),
        ("GET", "/orders/{order}/events", None),
        ("GET", "/users/{user}", None),
        ("PUT", "/users/{user}", {"name": "Mallory", "email": "mallory@example.org"}),
        ("POST", "/orders", {"user_id": "{user}", "items": [{"sku": "SKU", "quantity": 1}]}),
    ],
)
def test_anothers_resource_takes_no_other_time_than_a_missing_one(
    house: House, method: str, path: str, body: dict[str, object] | None
) -> None:
    """How often the one takes longer than the other, of pairs sent by turns: half of them, but for chance."""
    longer = 0.0
    text = json.dumps(body).replace("SKU", house.sku)
    kind = {"Content-Type": "application/json"} if body else {}

    def seconds(order: str, user: str) -> float:
        began = time.perf_counter()
        content = text.replace("{user}", user) if body else None
        url = path.format(order=order, user=user)
        assert house.ada.request(method, url, content=content, headers=kind).status_code in {404, 422}
        return time.perf_counter() - began

    for number in range(-10, PAIRS):  # the first ones warm up
        missing = f"{MISSING[:24]}{random.getrandbits(48):012x}"
        asked = {"other": (house.bob_order, house.bob_id), "missing": (missing, missing)}
        took = {name: seconds(*asked[name]) for name in sorted(asked, reverse=bool(number % 2))}
        longer += number >= 0 and took["other"] > took["missing"]
    assert abs(longer / PAIRS - 0.5) < 5 * 0.5 / PAIRS**0.5, longer / PAIRS


def test_the_lines_of_an_order_are_read_for_its_owner_alone(database_url: str) -> None:
    """Else the time of a 404 would tell a stranger that a long order exists."""
    lines = 100

    def read() -> int:
        ((number,),) = shop.rows(
            "SELECT coalesce(idx_tup_fetch, 0) + coalesce(seq_tup_read, 0) FROM pg_stat_user_tables "
            "WHERE relid = 'shop.order_items'::regclass"
        )
        return int(number)

    with guarded(database_url) as shop:
        owner, stranger = shop.user()["id"], shop.user()["id"]
        order = f"/orders/{shop.order(*[(shop.product(stock=1_000), 1)] * lines, user_id=owner)['id']}"
        sweep(database_url)
        keys = [bearing(new_key(database_url, "customer", user_id=user)) for user in (owner, stranger)]
        before = read()
        for _ in range(20):
            assert shop.get(order, headers=keys[1]).status_code == 404
        assert len(shop.get(order, headers=keys[0]).json()["items"]) == lines
    wait_until(lambda: not shop.rows(OTHER_SESSIONS), 20, "the end of the service's sessions")
    assert read() - before == lines


def test_as_many_events_are_read_for_anothers_history_as_for_a_missing_one(database_url: str) -> None:
    """Else the time of a 404 would tell a stranger that the order exists."""
    fetched = "SELECT coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relid = 'log.events'::regclass"
    counts = []
    with guarded(database_url) as shop:
        order = shop.order()["id"]
        key = bearing(new_key(database_url, "customer", user_id=shop.user()["id"]))
    for id_ in (order, MISSING):
        wait_until(lambda: not shop.rows(OTHER_SESSIONS), 20, "the end of the service's sessions")
        ((before,),) = shop.rows(fetched)
        with guarded(database_url) as shop:
            for path in ("events", "history", "explain", "explain?version=1"):
                for _ in range(5):
                    assert shop.get(f"/orders/{id_}/{path}", headers=key).status_code == 404
        wait_until(lambda: not shop.rows(OTHER_SESSIONS), 20, "the end of the service's sessions")
        ((after,),) = shop.rows(fetched)
        counts.append(int(after) - int(before))
    assert counts[0] == counts[1] >= 20


WRITES = [
    ("POST", "/orders/{order}/cancel", {}),
    ("PUT", "/users/{user}", {"name": "Mallory", "email": "mallory@example.org"}),
    ("DELETE", "/users/{user}", None),
    ("POST", "/orders", {"user_id": "{user}", "items": [{"sku": "SKU", "quantity": 1}]}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
@pytest.mark.parametrize("if_match", ["*", '"1"', '"7"'])
def test_changing_anothers_resource_answers_as_changing_a_missing_one(
    house: House, method: str, path: str, body: dict[str, object] | None, if_match: str
) -> None:
    head = house.shop.head()
    answers = []
    for order, user in ((house.bob_order, house.bob_id), (MISSING, MISSING)):
        sent = None if body is None else body | ({"user_id": user} if "user_id" in body else {})
        if sent and "items" in sent:
            sent["items"] = [{"sku": house.sku, "quantity": 1}]
        headers = {"Idempotency-Key": uuid4().hex} if method == "POST" else {}
        url = path.format(order=order, user=user)
        answer = house.ada.request(method, url, json=sent, headers=headers | {"If-Match": if_match})
        answers.append(told(answer, order if "{order}" in path else user))
    assert answers[0] == answers[1]
    assert answers[0][0] in {404, 422}
    assert house.shop.head() == head


def test_a_customer_does_not_see_the_actors_of_the_shop(house: House) -> None:
    for path in (f"/orders/{house.ada_order}/history", f"/orders/{house.ada_order}/explain"):
        for client, is_shown in ((house.ada, False), (house.shop.http, True)):
            events = client.get(path).raise_for_status().json()["data"]
            assert events
            assert all((event["actor"] is not None) == is_shown for event in events), path


def test_lists_have_a_customers_own_rows(house: House) -> None:
    for client, user, order in ((house.ada, house.ada_id, house.ada_order), (house.bob, house.bob_id, house.bob_order)):
        assert [it["id"] for it in client.get("/users").json()["data"]] == [user]
        assert {it["user_id"] for it in client.get("/orders?sort=total").json()["data"]} == {user}
        assert order in {it["id"] for it in client.get("/orders").json()["data"]}
    others = f"/orders?user_id={house.bob_id}"
    assert house.ada.get(others).json()["data"] == []
    assert len(house.shop.get(others).json()["data"]) == 1


def test_an_order_of_ones_own_is_placed_and_cancelled(house: House) -> None:
    body = {"user_id": house.ada_id, "items": [{"sku": house.sku, "quantity": 1}]}
    placed = house.ada.post("/orders", json=body)
    assert placed.status_code == 201
    assert house.ada.post(f"{placed.headers['location']}/cancel").status_code == 200


def test_an_external_id_does_not_lead_to_anothers_order(house: House) -> None:
    body = {"items": [{"sku": house.sku, "quantity": 1}], "external_id": uuid4().hex}
    first = house.bob.post("/orders", json=body | {"user_id": house.bob_id})
    refused = house.ada.post("/orders", json=body | {"user_id": house.ada_id})
    assert problem(refused) == (409, "duplicate-external-id")
    assert "location" not in refused.headers
    assert first.json()["id"] not in refused.text
    own = house.bob.post("/orders", json=body | {"user_id": house.bob_id})
    assert own.headers["location"] == f"/orders/{first.json()['id']}"


def test_a_customer_with_a_user_registers_no_other(house: House) -> None:
    answer = house.ada.post("/users", json={"name": "Eve", "email": "eve@example.org"})
    assert problem(answer) == (409, "already-registered")
    assert answer.headers["location"] == f"/users/{house.ada_id}"


def test_a_key_of_two_callers_is_two_keys(house: House) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    items = [{"sku": house.sku, "quantity": 1}]
    placed = [
        client.post("/orders", json={"user_id": user, "items": items}, headers=key)
        for client, user in ((house.ada, house.ada_id), (house.bob, house.bob_id))
    ]
    assert [it.status_code for it in placed] == [201, 201]
    assert placed[0].json()["id"] != placed[1].json()["id"]


def test_of_many_who_ask_at_once_only_the_owner_gets_the_order(house: House) -> None:
    """Look-ups at one moment share a query."""

    def ask(number: int) -> tuple[bool, int]:
        is_owner = number % 2 == 0
        client = house.ada if is_owner else house.bob
        return is_owner, client.get(f"/orders/{house.ada_order}").status_code

    with ThreadPoolExecutor(64) as pool:
        for _ in range(5):
            answers = sorted(pool.map(ask, range(64)))
            assert answers == [(False, 404)] * 32 + [(True, 200)] * 32


def test_no_filter_finds_a_resource_of_another_customer(house: House) -> None:
    bob = house.shop.get(f"/users/{house.bob_id}").json()
    order = {"user_id": house.bob_id, "items": [{"sku": house.sku, "quantity": 1}], "external_id": uuid4().hex}
    placed = house.bob.post("/orders", json=order).raise_for_status()
    house.shop.get("/orders", headers={"Sync-Token": placed.headers["sync-token"], "Prefer": "wait=20"})
    for path in (
        f"/orders?external_id={order['external_id']}",
        f"/orders?user_id={house.bob_id}&status=placed",
        f"/users?email={bob['email']}",
    ):
        assert house.ada.get(path).json()["data"] == [], path
        assert house.shop.get(path).json()["data"], path
