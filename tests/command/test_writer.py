"""Group commit: waiting commands are decided and committed together; none fails for another's error."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from command.domain.refusals import EmailTaken, OutOfStock
from command.products import AddProduct
from command.states import States
from command.submission import Answer, Command, Key, Outcome, Overloaded, Submission
from command.users import RegisterUser
from command.waiting import BATCH_COMMANDS_MAX, WAITING_MAX
from eventlog.ids import new_id
from tests.command.driving import (
    Driver,
    cancel,
    check_log,
    driving,
    execute,
    place,
    restock,
    rows,
    stock_of,
    submission,
)

pytestmark = pytest.mark.anyio


def a_user(email: str | None = None) -> RegisterUser:
    user_id = new_id()
    return RegisterUser(user_id, "Ada", email or f"{user_id}@example.org", None)


async def test_commands_that_wait_together_are_committed_together(writer: Driver) -> None:
    answers = await asyncio.gather(*[writer.do(a_user()) for _ in range(BATCH_COMMANDS_MAX)])
    assert (writer.writer.batches, writer.rings) == (1, 1)
    assert [it.position for it in answers] == list(range(1, BATCH_COMMANDS_MAX + 1))
    assert rows(writer.database_url, "SELECT count(DISTINCT xmin::text) FROM log.events") == [(1,)]


async def test_a_batch_has_a_bounded_number_of_commands(writer: Driver) -> None:
    await asyncio.gather(*[writer.do(a_user()) for _ in range(2 * BATCH_COMMANDS_MAX + 1)])
    assert writer.writer.batches == 3
    assert check_log(writer.database_url) == 2 * BATCH_COMMANDS_MAX + 1


async def test_commands_are_decided_in_the_order_they_came(writer: Driver) -> None:
    email = "ada@example.org"
    first, second, third = a_user(email), a_user(email), a_user()
    asked = [writer.submit(submission(it)) for it in (first, second, third)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [getattr(it, "position", it) for it in answers] == [1, EmailTaken(email), 2]
    streams = rows(writer.database_url, "SELECT stream FROM log.events ORDER BY position")
    assert streams == [(f"user-{first.user_id}",), (f"user-{third.user_id}",)]


async def test_each_command_sees_the_effects_of_earlier_ones(writer: Driver) -> None:
    user, product_id = a_user(), new_id()
    order_id = new_id()
    commands: list[Command] = [
        user,
        AddProduct(product_id, "TEA", "Tea", Decimal(1), "EUR", 5),
        place(user.user_id, (product_id, 5), order_id=order_id),
        place(user.user_id, (product_id, 1)),
        cancel(order_id),
        place(user.user_id, (product_id, 4)),
    ]
    answers = await asyncio.gather(*map(writer.do, commands), return_exceptions=True)
    assert [type(it) for it in answers] == [Answer, Answer, Answer, OutOfStock, Answer, Answer]
    assert writer.writer.batches == 1
    assert stock_of(writer.database_url, product_id) == 1
    check_log(writer.database_url)


async def test_a_refused_command_costs_the_others_nothing(writer: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=10)
    before = writer.writer.batches
    asked = [writer.do(place(ada, (tea, 11 if number % 2 else 1))) for number in range(20)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(it) for it in answers] == [Answer, OutOfStock] * 10
    assert writer.writer.batches == before + 1
    assert stock_of(writer.database_url, tea) == 0


async def test_a_batch_of_refusals_alone_appends_nothing_and_does_not_ring(writer: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=0)
    before, rings = check_log(writer.database_url), writer.rings
    for _ in range(2):
        with pytest.raises(OutOfStock):
            await writer.do(place(ada, (tea, 1)))
    assert (check_log(writer.database_url), writer.rings) == (before, rings)
    await writer.user()


@dataclass
class Faulty:
    """A command with a fault in its program."""

    def reads(self, states: States) -> Iterable[str]:
        return []

    def decide(self, states: States) -> Outcome:
        raise ZeroDivisionError


async def test_a_fault_in_one_decision_is_its_own_callers(writer: Driver) -> None:
    asked = [writer.do(it) for it in (a_user(), Faulty(), a_user())]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(it) for it in answers] == [Answer, ZeroDivisionError, Answer]
    assert writer.writer.batches == 1
    assert check_log(writer.database_url) == 2


async def test_events_key_and_claims_are_one_transaction(writer: Driver) -> None:
    await writer.do(RegisterUser(new_id(), "Ada", "ada@example.org", "A-1"), Key(b"ada", "key", b"fingerprint"))
    tables = ("log.events", "log.claims", "log.idempotency_keys", "log.head")
    union = " UNION ALL ".join(f"SELECT xmin::text FROM {table}" for table in tables)
    found = rows(writer.database_url, union)
    assert len(found) == 1 + 2 + 1 + 1
    assert len(set(found)) == 1


async def test_a_client_that_hangs_up_before_the_batch_is_not_served(writer: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=1)
    gone = writer.submit(submission(place(ada, (tea, 1))))
    stays = writer.submit(submission(place(ada, (tea, 1))))
    gone.cancel()
    assert (await stays).status == 201
    orders = rows(writer.database_url, "SELECT count(*) FROM log.events WHERE type = 'OrderPlaced'")
    assert orders == [(1,)]


async def test_a_client_that_hangs_up_during_the_batch_is_served_anyway(writer: Driver) -> None:
    asked = writer.submit(submission(a_user()))
    await asyncio.sleep(0)
    assert writer.writer.waiting == 0
    asked.cancel()
    await writer.user()
    assert check_log(writer.database_url) == 2


async def test_too_many_are_refused_at_once(writer: Driver) -> None:
    asked = [writer.submit(submission(a_user())) for _ in range(WAITING_MAX)]
    with pytest.raises(Overloaded):
        writer.submit(submission(a_user()))
    await asyncio.gather(*asked)
    await writer.user()
    assert check_log(writer.database_url) == WAITING_MAX + 1


async def test_stopping_answers_accepted_commands_and_rejects_new_ones(database_url: str) -> None:
    async with driving(database_url) as driver:
        asked = [driver.submit(submission(a_user())) for _ in range(BATCH_COMMANDS_MAX + 10)]
        stopping = asyncio.create_task(driver.writer.stop())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            driver.submit(submission(a_user()))
        await stopping
        assert all(it.done() and it.result().status == 201 for it in asked)
    assert check_log(database_url) == BATCH_COMMANDS_MAX + 10


async def test_a_writer_that_is_idle_stops_at_once(database_url: str) -> None:
    async with asyncio.timeout(5), driving(database_url):
        pass


async def test_recorded_at_never_goes_back_though_the_clock_does(writer: Driver) -> None:
    await writer.user()
    execute(writer.database_url, "UPDATE log.head SET recorded_at = recorded_at + interval '1 hour'")
    await writer.user()
    await writer.user()
    first, second, third = rows(writer.database_url, "SELECT recorded_at FROM log.events ORDER BY position")
    assert second[0] - first[0] >= timedelta(minutes=59)
    assert third == second
    check_log(writer.database_url)


async def test_occurred_at_is_the_callers_time_or_else_now(database_url: str) -> None:
    now, then = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC), datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    async with driving(database_url, now=lambda: now) as driver:
        user = a_user()
        await driver.submit(Submission(user, b"{}", occurred_at=then))
        await driver.user()
    assert rows(database_url, "SELECT occurred_at FROM log.events ORDER BY position") == [(then,), (now,)]


async def test_stock_taken_to_its_limits_one_by_one(writer: Driver) -> None:
    tea = await writer.product(stock=0)
    answers = await asyncio.gather(
        *[writer.do(restock(tea, delta)) for delta in (-1, 2, -1, -1, -1)], return_exceptions=True
    )
    assert [type(it) for it in answers] == [OutOfStock, Answer, Answer, Answer, OutOfStock]
    assert check_log(writer.database_url) == 1 + 3
