"""An Idempotency-Key makes a POST happen once, and every repetition get the first answer."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from command.submission import Key
from eventlog.idempotency import KEPT_DAYS
from tests.command.driving import Driver, check_log, driving, execute, place, restock, rows, submission
from tests.openapi import COMMANDS, TEXTS
from tests.served import Shop, problem, served

POSTS = [path for method, path in COMMANDS if method == "POST"]


def request(shop: Shop, post: str) -> tuple[str, dict[str, Any]]:
    """A path and a body that are taken, once."""
    match post:
        case "/users":
            return post, {"name": "Ada", "email": f"{uuid4().hex}@example.org", "external_id": uuid4().hex}
        case "/products":
            return post, {"sku": uuid4().hex, "name": "Tea", "price": "2.50", "currency": "EUR", "stock": 3}
        case "/products/{id}/stock":
            return f"/products/{shop.product()['id']}/stock", {"delta": -7, "reason": "broken"}
        case "/orders":
            items = [{"product_id": shop.product()["id"], "quantity": 7, "expected_unit_price": 2.5}]
            return post, {"user_id": shop.user()["id"], "items": items, "note": "Zoë"}
        case "/orders/{id}/cancel":
            return f"/orders/{shop.order()['id']}/cancel", {"lines": [{"line": 1, "quantity": 2}]}
    raise AssertionError(f"say here, and in TEXTS of tests/openapi.py, how POST {post} is asked for")


def same(answer: httpx.Response, first: httpx.Response) -> bool:
    """Whether an answer is the first one again, byte for byte."""
    assert answer.headers["idempotency-replayed"] == "true"
    told = ("etag", "location", "sync-token", "content-type")
    headers = [it.headers.get(name) for it in (answer, first) for name in told]
    return (answer.status_code, answer.content) == (first.status_code, first.content) and headers[:4] == headers[4:]


@pytest.mark.parametrize("post", POSTS)
def test_the_same_request_gets_the_first_answer_again_and_nothing_happens(shop: Shop, post: str) -> None:
    path, body = request(shop, post)
    key = {"Idempotency-Key": uuid4().hex}
    first = shop.post(path, json=body, headers=key)
    assert first.is_success
    assert "idempotency-replayed" not in first.headers
    before = shop.head()
    assert same(shop.post(path, json=body, headers=key), first)
    assert same(shop.post(path, json=body, headers=key), first)
    assert shop.head() == before


@pytest.mark.parametrize("post", POSTS)
def test_the_same_key_for_another_body_is_refused(shop: Shop, post: str) -> None:
    path, body = request(shop, post)
    key = {"Idempotency-Key": uuid4().hex}
    first = shop.post(path, json=body, headers=key)
    before = shop.head()
    answer = shop.post(path, json=body | {TEXTS[post]: "other"}, headers=key)
    assert problem(answer) == (422, "idempotency-key-reused")
    assert shop.head() == before
    assert same(shop.post(path, json=body, headers=key), first)


def test_the_same_key_for_another_path_is_refused(shop: Shop) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    orders = shop.order(), shop.order()
    assert shop.post(f"/orders/{orders[0]['id']}/cancel", headers=key).status_code == 200
    answer = shop.post(f"/orders/{orders[1]['id']}/cancel", headers=key)
    assert problem(answer) == (422, "idempotency-key-reused")
    assert len(shop.events(f"/orders/{orders[1]['id']}")) == 1


@pytest.mark.parametrize("post", POSTS)
def test_a_key_outlives_a_refreshed_token(shop: Shop, post: str) -> None:
    path, body = request(shop, post)
    key = {"Idempotency-Key": uuid4().hex}
    first = shop.post(path, json=body, headers=key | {"Authorization": "Bearer a"})
    assert first.is_success
    before = shop.head()
    for authorization in ("Bearer b", "bearer a", "Basic YTpi", None):
        headers = key if authorization is None else key | {"Authorization": authorization}
        assert same(shop.post(path, json=body, headers=headers), first)
    assert shop.head() == before


@pytest.mark.anyio
async def test_a_key_is_its_callers_own(writer: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=100)
    for caller in (b"ada", b"bob"):
        for is_replayed in (False, True):
            answer = await writer.do(place(ada, (tea, 1)), Key(caller, "key", b"fingerprint"))
            assert answer.replayed == is_replayed
    both = [writer.do(place(ada, (tea, 1)), Key(caller, "other", b"fingerprint")) for caller in (b"ada", b"bob")]
    assert len({it.body for it in await asyncio.gather(*both)}) == 2
    assert rows(writer.database_url, "SELECT count(*) FROM log.events WHERE type = 'OrderPlaced'") == [(4,)]


@pytest.mark.parametrize(
    "form",
    [
        lambda body: json.dumps(body, indent=3),
        lambda body: json.dumps(dict(reversed(body.items()))),
        lambda body: json.dumps(body, ensure_ascii=False),
        lambda body: json.dumps(body | {"external_id": None}),
        lambda body: json.dumps(body).replace("2.5", '"2.500"'),
        lambda body: json.dumps(body | {"user_id": body["user_id"].upper()}),
    ],
    ids=["indented", "other order", "not escaped", "null for absent", "price as text", "id in capitals"],
)
def test_a_body_in_another_form_is_the_same_request(shop: Shop, form: Any) -> None:
    path, body = request(shop, "/orders")
    headers = {"Idempotency-Key": uuid4().hex, "Content-Type": "application/json"}
    first = shop.post(path, content=json.dumps(body), headers=headers)
    assert same(shop.post(path, content=form(body).encode(), headers=headers), first)


def test_a_rejection_is_not_kept_and_may_succeed_after_a_restock(shop: Shop) -> None:
    tea, user = shop.product(stock=0), shop.user()
    body = {"user_id": user["id"], "items": [{"product_id": tea["id"], "quantity": 1}]}
    key = {"Idempotency-Key": uuid4().hex}
    assert problem(shop.post("/orders", json=body, headers=key)) == (409, "insufficient-stock")
    assert problem(shop.post("/orders", json=body | {"items": []}, headers=key)) == (422, "validation-error")
    shop.post(f"/products/{tea['id']}/stock", json={"delta": 1, "reason": "delivered"})
    first = shop.post("/orders", json=body, headers=key)
    assert first.status_code == 201
    assert same(shop.post("/orders", json=body, headers=key), first)


def test_a_kept_answer_ignores_later_changes_of_the_order(shop: Shop) -> None:
    path, body = request(shop, "/orders")
    key = {"Idempotency-Key": uuid4().hex}
    first = shop.post(path, json=body, headers=key)
    shop.post(f"{first.headers['location']}/cancel")
    shop.delete(f"/users/{body['user_id']}")
    assert same(shop.post(path, json=body, headers=key), first)


def test_the_same_key_twenty_times_at_once_over_http(shop: Shop) -> None:
    path, body = request(shop, "/orders")
    key = {"Idempotency-Key": uuid4().hex}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: shop.post(path, json=body, headers=key), range(20)))
    assert {it.status_code for it in answers} == {201}
    assert len({it.content for it in answers}) == 1
    assert sum("idempotency-replayed" not in it.headers for it in answers) == 1
    assert shop.rows("SELECT count(*) FROM log.events WHERE data->>'user_id' = %s", body["user_id"]) == [(1,)]


def test_an_answer_is_kept_across_a_restart(database_url: str) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    with served(database_url) as shop:
        path, body = request(shop, "/orders")
        first = shop.post(path, json=body, headers=key)
    with served(database_url) as shop:
        assert same(shop.post(path, json=body, headers=key), first)


@pytest.mark.anyio
async def test_the_same_key_twenty_times_at_once_over_two_writers(writer: Driver, other: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=100)
    key = Key(b"ada", "key", b"fingerprint")
    asked = [it.do(place(ada, (tea, 1)), key) for _ in range(10) for it in (writer, other)]
    answers = await asyncio.gather(*asked)
    assert len({(it.status, it.version, it.location, it.body, it.position) for it in answers}) == 1
    assert sum(not it.replayed for it in answers) == 1
    assert rows(writer.database_url, "SELECT count(*) FROM log.events WHERE type = 'OrderPlaced'") == [(1,)]
    check_log(writer.database_url)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.mark.anyio
async def test_keys_are_forgotten_when_the_promise_is_over_and_not_before(database_url: str) -> None:
    assert KEPT_DAYS >= 30
    clock = Clock()
    keys = {days: Key(b"ada", f"{days} days", b"fingerprint") for days in (0, 30, KEPT_DAYS + 1)}
    async with driving(database_url, now=clock) as driver:
        tea = await driver.product()
        for key in keys.values():
            await driver.do(restock(tea, 1), key)
        for days, key in keys.items():
            aged = "UPDATE log.idempotency_keys SET created_at = created_at - %s WHERE key = %s"
            execute(database_url, aged, timedelta(days=days), key.key)
        for _ in range(3):
            clock.at += timedelta(minutes=1)
            await driver.do(restock(tea, 1))
        kept = rows(database_url, "SELECT key FROM log.idempotency_keys ORDER BY 1")
        assert kept == [("0 days",), ("30 days",)]
        # A process whose clock is ahead deletes nothing early: the database's clock decides.
        clock.at += timedelta(days=2 * KEPT_DAYS)
        await driver.do(restock(tea, 1))
        assert rows(database_url, "SELECT key FROM log.idempotency_keys ORDER BY 1") == kept
        execute(database_url, aged, timedelta(days=KEPT_DAYS), "30 days")
        clock.at += timedelta(minutes=1)
        await driver.do(restock(tea, 1))
        assert rows(database_url, "SELECT key FROM log.idempotency_keys") == [("0 days",)]


async def left_after_commands(driver: Driver, clock: Clock, tea: str, database_url: str) -> list[int]:
    """How many keys are left after each of four commands, two seconds apart."""
    left = []
    for _ in range(4):
        clock.at += timedelta(seconds=2)
        await driver.submit(submission(restock(tea, 1)))
        left.append(rows(database_url, "SELECT count(*) FROM log.idempotency_keys")[0][0])
    return left


@pytest.mark.anyio
async def test_many_old_keys_are_forgotten_bit_by_bit(database_url: str) -> None:
    clock = Clock()
    async with driving(database_url, now=clock) as driver:
        tea = await driver.product()
        execute(
            database_url,
            """
            INSERT INTO log.idempotency_keys (caller, key, fingerprint, status, position, body, created_at)
            SELECT '', number, '', 201, 1, '', now() - interval '90 days' FROM generate_series(1, 2500) AS number
            """,
        )
        assert await left_after_commands(driver, clock, tea, database_url) == [1500, 500, 0, 0]


@pytest.mark.anyio
async def test_old_keys_with_large_answers_are_forgotten_by_their_bytes(database_url: str) -> None:
    """Deleting 1,000 answers of 1 MB took half a second, and the log's head is held meanwhile."""
    clock = Clock()
    async with driving(database_url, now=clock) as driver:
        tea = await driver.product()
        execute(
            database_url,
            """
            INSERT INTO log.idempotency_keys (caller, key, fingerprint, status, position, body, created_at)
            SELECT '', number, '', 201, 1, body::bytea, now() - interval '90 days'
            FROM generate_series(1, 150) AS number, repeat('tea ', 262144) AS body
            """,
        )
        assert await left_after_commands(driver, clock, tea, database_url) == [86, 22, 0, 0]
