"""Read your own writes: a read that is sent a Sync-Token waits for the read tables."""

import asyncio
import time

import httpx
import pytest

from query.database import Reads
from query.sync import Sync
from readmodel.shop import METADATA as SHOP
from tests.query.answers import ids, problem
from tests.query.rows import Rows

pytestmark = pytest.mark.anyio
NOBODY = "0197c1c2-7d8e-7000-8000-ffffffffffff"


async def test_a_token_that_was_reached_is_answered_at_once(api: httpx.AsyncClient, rows: Rows) -> None:
    user = rows.user()
    rows.reach(10)
    for token in ("0", "9", "10"):
        answer = await api.get(f"/users/{user}", headers={"Sync-Token": token, "Prefer": "wait=0"})
        assert answer.status_code == 200
        assert answer.headers["sync-token"] == "10"


@pytest.mark.parametrize("url", [f"/users/{NOBODY}", "/users", f"/users/{NOBODY}/orders"])
async def test_a_read_waits_for_the_write_that_it_knows_of(api: httpx.AsyncClient, rows: Rows, url: str) -> None:
    rows.reach(10)
    waiting = asyncio.create_task(api.get(url, headers={"Sync-Token": "11"}))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    rows.user(id=NOBODY)
    rows.reach(11)
    answer = await waiting
    assert answer.status_code == 200
    assert answer.headers["sync-token"] == "11"
    assert NOBODY in answer.text or "orders" in url


@pytest.mark.parametrize("url", [f"/users/{NOBODY}", "/orders", "/products", f"/users/{NOBODY}/orders"])
async def test_a_read_that_times_out_says_when_to_retry(api: httpx.AsyncClient, rows: Rows, url: str) -> None:
    rows.reach(10)
    started = time.monotonic()
    answer = await api.get(url, headers={"Sync-Token": "11", "Prefer": "wait=1"})
    assert problem(answer) == (503, "projection-behind")
    assert answer.json()["retryable"] is True
    assert answer.headers["retry-after"] == "1"
    assert 1 <= time.monotonic() - started < 2


async def test_the_wait_is_two_seconds_unless_asked_otherwise(api: httpx.AsyncClient) -> None:
    started = time.monotonic()
    assert problem(await api.get("/users", headers={"Sync-Token": "1"})) == (503, "projection-behind")
    assert 2 <= time.monotonic() - started < 3


@pytest.mark.parametrize("prefer", ["wait=0", "respond-async, wait=0", "foo; wait=0", 'wait="0"', "WAIT = 0"])
async def test_prefer_is_read_as_the_standard_has_it(api: httpx.AsyncClient, prefer: str) -> None:
    started = time.monotonic()
    answer = await api.get("/users", headers={"Sync-Token": "1", "Prefer": prefer})
    assert problem(answer) == (503, "projection-behind")
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("prefer", ["wait=x", "wait=-1", "wait=1.5", "wait=", "wait=9999999999"])
async def test_a_wait_that_is_no_number_is_refused(api: httpx.AsyncClient, prefer: str) -> None:
    answer = await api.get("/users", headers={"Sync-Token": "1", "Prefer": prefer})
    assert problem(answer) == (400, "invalid-header")


async def test_a_wait_of_more_than_half_a_minute_is_one_of_half_a_minute(rows: Rows, api: httpx.AsyncClient) -> None:
    waiting = asyncio.create_task(api.get("/users", headers={"Sync-Token": "1", "Prefer": "wait=999999999"}))
    await asyncio.sleep(2.5)
    assert not waiting.done()
    rows.reach(1)
    assert (await waiting).status_code == 200


@pytest.mark.parametrize("token", ["x", "-1", "1.0", "", "1" * 19, "+1"])
async def test_a_token_that_is_no_position_is_refused(api: httpx.AsyncClient, token: str) -> None:
    assert problem(await api.get("/users", headers={"Sync-Token": token})) == (400, "invalid-header")


async def test_one_poller_serves_all_waiting_reads_and_stops_with_the_last(reads: Reads, rows: Rows) -> None:
    asked = 0
    of_tables = Sync.of_tables(reads, SHOP)

    async def position() -> int:
        nonlocal asked
        asked += 1
        return await of_tables._position()

    sync = Sync(position)
    waiting = [asyncio.create_task(sync._reach(token, 5)) for token in (1, 2, 2, 2, 3)]
    await asyncio.sleep(0.2)
    assert 1 <= asked <= 0.2 / 0.005
    rows.reach(2)
    await asyncio.wait(waiting[:4], timeout=5)
    assert [task.done() for task in waiting] == [True, True, True, True, False]
    rows.reach(3)
    await asyncio.gather(*waiting)
    await asyncio.sleep(0.1)
    so_far = asked
    await asyncio.sleep(0.1)
    assert asked == so_far
    # And again, after the poller has ended.
    rows.reach(4)
    await sync._reach(4, 5)


async def test_a_read_that_hangs_up_does_not_stop_the_others(rows: Rows, api: httpx.AsyncClient) -> None:
    first, second = (asyncio.create_task(api.get("/users", headers={"Sync-Token": "1"})) for _ in range(2))
    await asyncio.sleep(0.1)
    first.cancel()
    user = rows.user()
    rows.reach(1)
    assert ids(await second) == [user]


async def test_each_request_that_waits_gets_its_problem_when_a_table_is_dropped(
    api: httpx.AsyncClient, rows: Rows
) -> None:
    headers = {"Sync-Token": "1000000", "Prefer": "wait=20"}
    waiting = [asyncio.create_task(api.get("/users", headers=headers)) for _ in range(3)]
    await asyncio.sleep(0.2)
    started = time.monotonic()
    rows.execute("ALTER TABLE shop.checkpoint DROP COLUMN position CASCADE")
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert time.monotonic() - started < 5
    assert len(answers) == 3
