"""Reads of what is parked say so; of all else, nothing changes."""

import asyncio

import httpx
import psycopg
import pytest

from tests.query.answers import problem
from tests.query.rows import Rows

pytestmark = pytest.mark.anyio
NOBODY = "0197c1c2-7d8e-7000-8000-ffffffffffff"


def park(rows: Rows, *streams: str, skipped: bool = False) -> None:
    for number, stream in enumerate(streams, 1):
        rows.execute(
            "INSERT INTO shop.parked (stream, position, version, type, error, skipped, parked_at) "
            f"VALUES ('{stream}', {number}, 2, 'OrderPlaced', 'it fell', {skipped}, now())"
        )
    rows.reach(7, parked=len(streams))


async def test_a_parked_resource_is_answered_as_it_stands_and_says_that_it_is_parked(
    api: httpx.AsyncClient, rows: Rows
) -> None:
    parked, another = rows.order(), rows.order()
    park(rows, f"order-{parked}")
    answer = await api.get(f"/orders/{parked}")
    assert (answer.status_code, answer.headers["projection-state"]) == (200, "parked")
    assert answer.json()["id"] == parked
    unchanged = await api.get(f"/orders/{parked}", headers={"If-None-Match": answer.headers["etag"]})
    assert (unchanged.status_code, unchanged.headers["projection-state"]) == (304, "parked")
    assert "projection-state" not in (await api.get(f"/orders/{another}")).headers


@pytest.mark.parametrize(
    ("kind", "path"),
    [("user", "/users/{}"), ("product", "/products/{}"), ("order", "/orders/{}"), ("user", "/users/{}/orders")],
)
async def test_a_parked_resource_is_not_reported_as_not_found(
    api: httpx.AsyncClient, rows: Rows, kind: str, path: str
) -> None:
    park(rows, f"{kind}-{NOBODY}")
    answer = await api.get(path.format(NOBODY))
    assert problem(answer) == (503, "projection-behind")
    assert (answer.headers["projection-state"], answer.headers["retry-after"]) == ("parked", "5")
    other = await api.get(path.format(NOBODY.replace("f", "e")))
    assert problem(other) == (404, "not-found")
    assert "projection-state" not in other.headers
    assert answer.headers["sync-token"] == other.headers["sync-token"] == "7"


async def test_a_deleted_user_that_is_parked_is_gone_and_says_that_it_is_parked(
    api: httpx.AsyncClient, rows: Rows
) -> None:
    user = rows.user(deleted_at="2026-01-01T00:00:00Z")
    park(rows, f"user-{user}")
    answer = await api.get(f"/users/{user}")
    assert (answer.status_code, answer.headers["projection-state"]) == (410, "parked")


async def test_a_list_says_that_something_of_its_kind_is_parked(api: httpx.AsyncClient, rows: Rows) -> None:
    user = rows.user()
    rows.order(user)
    park(rows, f"order-{NOBODY}")
    for path in ("/orders", "/orders?limit=1", f"/users/{user}/orders"):
        assert (await api.get(path)).headers["projection-state"] == "parked"
    for path in ("/users", "/products"):
        assert "projection-state" not in (await api.get(path)).headers


async def test_a_skipped_resource_is_not_found_and_reads_do_not_wait_for_it(api: httpx.AsyncClient, rows: Rows) -> None:
    park(rows, f"order-{NOBODY}", skipped=True)
    assert problem(await api.get(f"/orders/{NOBODY}")) == (404, "not-found")
    assert "projection-state" not in (await api.get("/orders")).headers


@pytest.mark.parametrize("path", ["/users/{}", "/users/{}/orders"])
@pytest.mark.parametrize("another", [(), (f"user-{NOBODY.replace('f', 'e')}",)])
async def test_a_stream_that_is_drained_during_a_read_is_found(
    api: httpx.AsyncClient, rows: Rows, database_url: str, path: str, another: tuple[str, ...]
) -> None:
    park(rows, f"user-{NOBODY}", *another)
    with psycopg.connect(database_url) as draining:
        draining.execute("LOCK shop.parked")
        reading = asyncio.create_task(api.get(path.format(NOBODY)))
        await asyncio.sleep(0.3)  # until it waits for the lock
        draining.execute(
            "INSERT INTO shop.users (id, name, email, email_key, version, created_at, updated_at) "
            "VALUES (%s, 'Ada', 'ada@example.org', 'ada@example.org', 1, now(), now())",
            (NOBODY,),
        )
        draining.execute("DELETE FROM shop.parked WHERE stream = %s", (f"user-{NOBODY}",))
        draining.execute("UPDATE shop.checkpoint SET parked = parked - 1")
    answer = await reading
    assert answer.status_code == 200
    assert "projection-state" not in answer.headers
