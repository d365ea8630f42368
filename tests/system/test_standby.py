"""Commits that have to wait for a standby which is away: nothing is acknowledged that it does not have."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from tests.builders import wait_until
from tests.checker.check import assert_nothing_wrong
from tests.checker.history import History, Outcome
from tests.system.crowd import PASSING, Crowd, counts
from tests.system.stack import Stack

ANSWER_SECONDS_MAX = 10
SOON = 5
ORDERS = 10
WAITING = "SELECT application_name FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
CANCEL = (
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
    "WHERE wait_event = 'SyncRep' AND application_name <> 'orders projector'"
)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("standby"), apis=2) as stack:
        yield stack


@pytest.fixture(scope="module")
def history(stack: Stack) -> Iterator[History]:
    history = History()
    yield history
    stack.wait_until_caught_up(30)
    assert_nothing_wrong(stack.database_url, history)


@pytest.mark.anyio
async def test_a_commit_that_waits_for_a_standby_is_unacknowledged_and_done_once(
    stack: Stack, history: History
) -> None:
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
    placed = "SELECT count(*) FROM log.events WHERE type = 'OrderPlaced'"
    assert stack.rows(placed) == [(ORDERS,)]


@pytest.mark.anyio
async def test_a_commit_whose_standby_wait_was_cancelled_is_not_a_success(stack: Stack, history: History) -> None:
    """PostgreSQL reports one, with a warning; the standby may never have it."""
    async with Crowd(stack.urls, history) as crowd:
        user, tea = await crowd.user(), await crowd.product(1)
        wait_for_standby(stack, "away")
        # The worker signs that it lives about every second: then it is known that commits wait.
        await asyncio.to_thread(wait_until, lambda: bool(stack.rows(WAITING)), SOON, "the worker's COMMIT to wait")
        placing = asyncio.create_task(crowd.send(crowd.order(user, (tea, 1))))
        await asyncio.to_thread(wait_until, lambda: bool(stack.rows(CANCEL)), SOON, "the writer's COMMIT to wait")
        attempt = await placing
        wait_for_standby(stack, "")
    assert (attempt.outcome, attempt.code) == (Outcome.UNKNOWN, "outcome-unknown")


def wait_for_standby(stack: Stack, name: str) -> None:
    """From now on commits wait for the standby with this name; for none if it is empty."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'".encode())
        connection.execute("SELECT pg_reload_conf()")
