"""Commits that have to wait for a standby which is away: nothing is acknowledged that it does not have."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from tests.checker.check import assert_nothing_wrong
from tests.checker.history import History
from tests.system.crowd import PASSING, Crowd, counts
from tests.system.stack import Stack

ANSWER_SECONDS_MAX = 10
ORDERS = 10


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_what_waits_for_a_standby_is_not_acknowledged_and_is_done_once(tmp_path: Path) -> None:
    history = History()
    with Stack(tmp_path, apis=2) as stack:
        async with Crowd(stack.urls, history) as crowd:
            user, tea = await crowd.user(), await crowd.product(ORDERS)
            orders = [crowd.order(user, (tea, 1), key=f"waits-{number}") for number in range(ORDERS)]
            wait_for_standby(stack, "away")
            # The COMMIT is not cancelled: that would report success, and the standby would never have it.
            attempts = await crowd.all_at_once(orders)
            assert counts(attempts).keys() <= {(503, code) for code in PASSING}
            assert "outcome-unknown" in {attempt.code for attempt in attempts}
            assert max(attempt.ended_at - attempt.sent_at for attempt in attempts) < ANSWER_SECONDS_MAX
            wait_for_standby(stack, "")
            await asyncio.gather(*[crowd.persist(order) for order in orders])
        stack.wait_until_caught_up(30)
        assert_nothing_wrong(stack.database_url, history)
        placed = "SELECT count(*) FROM log.events WHERE type = 'OrderPlaced'"
        assert stack.rows(placed) == [(ORDERS,)]


def wait_for_standby(stack: Stack, name: str) -> None:
    """From now on commits wait for the standby with this name; for none if it is empty."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'".encode())
        connection.execute("SELECT pg_reload_conf()")
