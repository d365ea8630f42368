"""One Idempotency-Key, sent by everybody at once and repeated across crashes: one order, and one answer for all."""

import asyncio
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.chance import chosen_seed
from tests.checker.check import assert_nothing_wrong
from tests.checker.history import Attempt, History, Outcome
from tests.system.crowd import Crowd, counts
from tests.system.stack import Stack

pytestmark = pytest.mark.anyio

SENDERS = 100
CRASHES, CRASHES_LONG = 4, 120
# While a part is killed: so many orders, the first of them sent by all, the others by so many.
ORDERS, REPEATERS = 20, 3


@dataclass
class Service:
    """Two API processes, and all that was ever said to them."""

    stack: Stack
    history: History = field(default_factory=History)

    def crowd(self) -> Crowd:
        return Crowd(self.stack.urls, self.history)

    def check(self) -> None:
        self.stack.wait_until_caught_up()
        assert_nothing_wrong(self.stack.database_url, self.history)

    def kill_apis(self, *numbers: int) -> None:
        for number in numbers:
            self.stack.apis[number].kill()
        for number in numbers:
            self.stack.apis[number].start()

    def kill_postgres(self, number: signal.Signals) -> None:
        self.stack.crash(self.stack.postgres, number)
        self.stack.postgres.start()

    def ways(self) -> list[Callable[[], None]]:
        """Each way to be killed, and to come back."""
        return [
            lambda: self.kill_apis(0),
            lambda: self.kill_apis(0, 1),
            lambda: self.kill_postgres(signal.SIGQUIT),
            lambda: self.kill_postgres(signal.SIGKILL),
        ]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory: Path = tmp_path_factory.mktemp("same-key")
    with Stack(directory, apis=2) as stack:
        yield Service(stack)


def check_one_answer(attempts: list[Attempt]) -> None:
    """All that was answered is one answer, byte for byte; one at most is the first of them."""
    told = {(it.status, it.content, it.version, it.location, it.position) for it in attempts}
    assert len(told) == 1
    first = [it for it in attempts if "idempotency-replayed" not in it.headers]
    assert len(first) <= 1
    assert all(it.headers["idempotency-replayed"] == "true" for it in attempts if it not in first)


async def test_a_hundred_at_once_are_one_order(service: Service) -> None:
    async with service.crowd() as crowd:
        user, tea = await crowd.user(), await crowd.product(10)
        order = crowd.order(user, (tea, 2), key="a hundred times")
        attempts = await crowd.all_at_once([order] * SENDERS)
        assert counts(attempts) == {(201, None): SENDERS}
        check_one_answer(attempts)
        assert sum("idempotency-replayed" in it.headers for it in attempts) == SENDERS - 1
    service.check()


async def test_a_key_that_is_sent_with_several_tokens_is_one_order(service: Service) -> None:
    async with service.crowd() as crowd:
        order = crowd.order(await crowd.user(), (await crowd.product(10), 1), key="refreshed")
        tokens = ("Bearer a", "Bearer b", "bearer a")
        await asyncio.gather(*[crowd.send(order, {"Authorization": token}) for _ in range(20) for token in tokens])
        assert counts(order.attempts) == {(201, None): 60}
        check_one_answer(order.attempts)
    service.check()


async def test_a_key_is_repeated_across_crashes_until_it_is_answered(service: Service, is_long: bool) -> None:
    chance = random.Random(chosen_seed())  # noqa: S311 - to be repeated, not to be secret
    ways = service.ways()
    crashes = CRASHES_LONG if is_long else CRASHES
    async with service.crowd() as crowd:
        user, tea = await crowd.user(), await crowd.product(crashes * ORDERS)
        for number in range(crashes):
            orders = [crowd.order(user, (tea, 1), key=f"crash-{number}-{count}") for count in range(ORDERS)]
            senders = [SENDERS, *[REPEATERS] * (ORDERS - 1)]
            repeating = [
                asyncio.create_task(crowd.persist(order))
                for order, times in zip(orders, senders, strict=True)
                for _ in range(times)
            ]
            await asyncio.sleep(chance.uniform(0, 0.2))
            await asyncio.to_thread(ways[number % len(ways)])
            await asyncio.gather(*repeating)
            for order, times in zip(orders, senders, strict=True):
                assert len(order.acknowledged) == times
                check_one_answer(order.acknowledged)
    attempts = [attempt for command in service.history.commands.values() for attempt in command.attempts]
    assert any(attempt.outcome is Outcome.UNKNOWN for attempt in attempts), "nobody was ever in doubt"
    service.stack.wait_until_ready()
    service.check()
    sold = service.stack.rows(
        "SELECT count(*) FROM log.events WHERE stream = %s AND type = 'StockReserved'", f"product-{tea}"
    )
    assert sold == [(crashes * ORDERS,)]
