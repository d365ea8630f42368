"""The read side's connections when the database is slow, gone, or back again."""

import asyncio
import time

import httpx
import psycopg
import pytest

from contract.problems import Problem
from query import orders
from query.database import CONNECTION_SECONDS_MAX, CONNECTIONS_MAX, Reads, Statement
from query.sync import Sync
from readmodel.shop import METADATA as SHOP
from tests.builders import wait_until
from tests.query.answers import problem
from tests.query.conftest import application, client_of
from tests.query.rows import Rows

pytestmark = pytest.mark.anyio


async def test_connections_that_died_while_idle_are_replaced_unnoticed(database_url: str, rows: Rows) -> None:
    async with Reads(database_url) as reads:
        await asyncio.gather(*(reads.rows(Statement(b"SELECT pg_sleep(0.1)"), {}) for _ in range(6)))
        rows.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orders reads'")
        found = await asyncio.gather(*(reads.rows(Statement(b"SELECT 1"), {}) for _ in range(6)))
    assert found == [[(1,)]] * 6


async def test_a_select_that_takes_too_long_is_given_up_and_the_next_one_works(database_url: str) -> None:
    async with Reads(database_url, seconds_max=0.3) as reads:
        started = time.monotonic()
        with pytest.raises(Problem) as raised:
            await reads.rows(Statement(b"SELECT pg_sleep(5)"), {})
        assert raised.value.code == "unavailable"
        assert raised.value.response().headers["retry-after"]
        assert 0.3 <= time.monotonic() - started < 0.6
        assert await reads.rows(Statement(b"SELECT 1"), {}) == [(1,)]


async def test_selects_that_were_given_up_leave_no_sessions_behind(database_url: str) -> None:
    """A session that waits for a lock does not notice that its client is gone."""
    left = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'orders reads' AND wait_event_type = 'Lock'"
    )
    with psycopg.connect(database_url) as holder, psycopg.connect(database_url, autocommit=True) as looking:
        holder.execute("LOCK TABLE shop.orders")
        async with Reads(database_url, seconds_max=0.2) as reads:
            for _ in range(3):
                with pytest.raises(Problem):
                    await reads.rows(Statement(b"SELECT count(*) FROM shop.orders"), {})
            assert looking.execute(left).fetchone() != (0,)
            wait_until(lambda: looking.execute(left).fetchone() == (0,), 5, "those that were given up are gone")


async def test_json_stays_bytes_and_numbers_become_numbers(database_url: str) -> None:
    async with Reads(database_url) as reads:
        for _ in range(8):
            rows = await reads.rows(Statement(b"""SELECT '{"a": [1]}'::json, 1::bigint, %(x)b::text"""), {"x": "ü"})
            assert rows == [(b'{"a": [1]}', 1, "ü")]


async def test_a_mistake_of_ours_is_not_called_a_database_that_is_away(database_url: str) -> None:
    async with Reads(database_url) as reads:
        with pytest.raises(psycopg.errors.SyntaxError):
            await reads.rows(Statement(b"SELEC 1"), {})
        with pytest.raises(psycopg.ProgrammingError, match="parameter missing"):
            await reads.rows(Statement(b"SELECT %(wanted)s"), {})


async def test_missing_tables_and_rights_are_an_operators_to_mend(database_url: str) -> None:
    for statement, remedy in ((b"SELECT FROM shop.nothing", "run `orders migrate`"), (b"TABLE pg_authid", "grant")):
        async with Reads(database_url, connections_max=1) as reads:
            if remedy == "grant":
                await reads.rows(Statement(b"SELECT set_config('role', 'pg_monitor', false)"), {})
            with pytest.raises(Problem, match=remedy):
                await reads.rows(Statement(statement), {})


async def test_prepared_statements_are_planned_five_times_and_then_never_again(database_url: str, rows: Rows) -> None:
    """PostgreSQL compares the kept plan with those made for the values; nothing may make it prefer those."""
    user = rows.user()
    order = rows.order(user)
    plans = Statement(
        b"SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements WHERE generic_plans > 0"
    )
    async with Reads(database_url, connections_max=1) as reads:
        sync = Sync.of_tables(reads, SHOP)
        async with client_of(application(orders.router(reads, sync))) as api:
            for url in (
                f"/orders/{order}",
                "/orders?limit=1",
                "/orders?limit=50&sort=total",
                f"/orders?user_id={user}",
            ):
                for _ in range(40):
                    assert (await api.get(url)).status_code == 200
        ((kept, made),) = await reads.rows(plans, {})
    assert (kept, made) == (4 * 30, 4 * 5)


@pytest.mark.parametrize("path", ["/orders/0197c1c2-7d8e-7000-8000-ffffffffffff", "/orders"])
async def test_a_read_without_a_connection_is_answered_after_one_wait(database_url: str, path: str) -> None:
    async with Reads(database_url) as reads:
        held = [asyncio.create_task(reads.rows(Statement(b"SELECT pg_sleep(4.5)"), {})) for _ in range(CONNECTIONS_MAX)]
        await asyncio.sleep(0.2)  # until they hold all connections

        async def seconds(api: httpx.AsyncClient) -> float:
            started = time.monotonic()
            answer = await api.get(path)
            assert problem(answer) == (503, "unavailable")
            return time.monotonic() - started

        async with client_of(application(orders.router(reads, Sync.of_tables(reads, SHOP)))) as api:
            first = asyncio.create_task(seconds(api))
            await asyncio.sleep(0.5)  # so that both wait at once
            assert await seconds(api) < CONNECTION_SECONDS_MAX + 0.5
            assert await first < CONNECTION_SECONDS_MAX + 0.5
        await asyncio.gather(*held)
