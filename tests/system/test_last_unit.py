"""Everybody wants the same things at the same moment, over two API processes: each unit has exactly one winner.

Losing buyers get a refusal with the right numbers, and no buyer gets a server error. The checker judges each race
by the log.
"""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.chance import chosen_seed
from tests.checker.check import assert_nothing_wrong
from tests.checker.history import Attempt, Command, History
from tests.system.crowd import Crowd, counts
from tests.system.stack import Stack

pytestmark = pytest.mark.anyio

BUYERS = 500
WON = 201, None
LOST = 409, "insufficient-stock"


@dataclass
class Shop:
    """Two API processes, and all that was ever said to them."""

    stack: Stack
    rounds: int
    history: History = field(default_factory=History)
    chance: random.Random = field(default_factory=lambda: random.Random(chosen_seed()))  # noqa: S311 - to be repeated

    def crowd(self) -> Crowd:
        return Crowd(self.stack.urls, self.history)

    def stocks(self, product: str) -> list[int]:
        """Every stock that the product ever had, by its events."""
        rows = self.stack.rows(
            "SELECT data->>'stock_after' FROM log.events WHERE stream = %s AND data->>'stock_after' IS NOT NULL "
            "ORDER BY version",
            f"product-{product}",
        )
        return [0, *(int(str(stock)) for (stock,) in rows)]

    def check(self) -> None:
        self.stack.wait_until_caught_up()
        assert_nothing_wrong(self.stack.database_url, self.history)

    def check_losers(self, attempts: list[Attempt]) -> None:
        """Each losing buyer asked for more than the stock that its refusal names, and that stock existed."""
        shortages = [short for attempt in attempts if attempt.status == 409 for short in attempt.body["lines"]]
        had = {product: set(self.stocks(product)) for product in {short["product_id"] for short in shortages}}
        for short in shortages:
            assert short["requested"] > short["available"]
            assert short["available"] in had[short["product_id"]]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, is_long: bool) -> Iterator[Shop]:
    directory: Path = tmp_path_factory.mktemp("last-unit")
    with Stack(directory, apis=2) as stack:
        yield Shop(stack, rounds=5 if is_long else 1)


@pytest.mark.parametrize("units", [1, 200])
async def test_each_unit_is_sold_once_to_five_hundred_buyers(shop: Shop, units: int) -> None:
    async with shop.crowd() as crowd:
        for _ in range(shop.rounds):
            user, tea = await crowd.user(), await crowd.product(units)
            attempts = await crowd.all_at_once([crowd.order(user, (tea, 1)) for _ in range(BUYERS)])
            assert counts(attempts) == {WON: units, LOST: BUYERS - units}
            lost = [attempt.body["lines"] for attempt in attempts if attempt.status == 409]
            sku = lost[0][0]["sku"]
            numbers = {"line": 1, "product_id": tea, "sku": sku, "requested": 1, "available": 0}
            assert all(lines == [numbers] for lines in lost)
            assert shop.stocks(tea) == [0, *range(units, -1, -1)]
    shop.check()


async def test_orders_of_products_in_opposite_order_do_not_deadlock(shop: Shop) -> None:
    async with shop.crowd() as crowd:
        for _ in range(shop.rounds):
            user, tea, cup = await crowd.user(), await crowd.product(150), await crowd.product(100)
            there = [crowd.order(user, (tea, 1), (cup, 1)) for _ in range(75)]
            back = [crowd.order(user, (cup, 1), (tea, 1)) for _ in range(75)]
            greedy = [crowd.order(user, (tea, 5), (cup, 200), (tea, 1)) for _ in range(10)]
            commands = [*there, *back, *greedy]
            shop.chance.shuffle(commands)
            attempts = await crowd.all_at_once(commands)
            assert counts(attempts) == {WON: 100, LOST: 60}
            assert (shop.stocks(tea)[-1], shop.stocks(cup)[-1]) == (50, 0)
            shop.check_losers(attempts)
            # All lines of a short product are named, each with the product's sum, and no others.
            for command in greedy:
                short = command.attempts[0].body["lines"]
                assert [(it["line"], it["requested"]) for it in short if it["product_id"] == cup] == [(2, 200)]
                assert [(it["line"], it["requested"]) for it in short if it["product_id"] == tea] in (
                    [],
                    [(1, 6), (3, 6)],
                )
    shop.check()


async def test_an_order_races_its_own_cancellation(shop: Shop) -> None:
    """Cancelled as soon as one of the senders knows of it, while the others still repeat it."""

    async def order_and_cancel(crowd: Crowd, command: Command) -> None:
        orders = [asyncio.create_task(crowd.send(command)) for _ in range(4)]
        await asyncio.wait(orders, return_when=asyncio.FIRST_COMPLETED)
        made = next(task for task in orders if task.done()).result()
        cancelling = [crowd.cancellation(made.body["id"], quantity) for quantity in (None, 1, None)]
        answers = await crowd.all_at_once(cancelling)
        placed = await asyncio.gather(*orders)
        assert counts(placed) == {WON: 4}
        assert len({attempt.content for attempt in placed}) == 1
        assert sum("idempotency-replayed" not in attempt.headers for attempt in placed) == 1
        assert [attempt.status for attempt in (answers[0], answers[2])] == [200, 200]
        # One piece: before all of it, or too late.
        assert (answers[1].status, answers[1].code) in {(200, None), (409, "quantity-not-cancellable")}

    async with shop.crowd() as crowd:
        for number in range(shop.rounds):
            user, tea = await crowd.user(), await crowd.product(60)
            orders = [crowd.order(user, (tea, 2), key=f"own-{number}-{count}") for count in range(30)]
            await asyncio.gather(*[order_and_cancel(crowd, command) for command in orders])
            assert shop.stocks(tea)[-1] == 60
    shop.check()


async def test_a_line_is_cancelled_piece_by_piece_and_no_further(shop: Shop) -> None:
    async with shop.crowd() as crowd:
        for _ in range(shop.rounds):
            user, tea = await crowd.user(), await crowd.product(100)
            order = (await crowd.send(crowd.order(user, (tea, 100)))).body["id"]
            attempts = await crowd.all_at_once([crowd.cancellation(order, 1) for _ in range(150)])
            assert counts(attempts) == {(200, None): 100, (409, "quantity-not-cancellable"): 50}
            left = [attempt.body["lines"] for attempt in attempts if attempt.status == 409]
            assert all(lines == [{"line": 1, "requested": 1, "cancellable": 0}] for lines in left)
            assert shop.stocks(tea) == [0, *range(100, -1, -100), *range(1, 101)]
    shop.check()


async def test_restocked_units_are_sold_once(shop: Shop) -> None:
    async with shop.crowd() as crowd:
        for _ in range(shop.rounds):
            user, tea = await crowd.user(), await crowd.product(20)
            buying = [crowd.order(user, (tea, shop.chance.randint(1, 3))) for _ in range(150)]
            stocking = [
                crowd.history.command("POST", f"/products/{tea}/stock", {"delta": delta, "reason": "counted"})
                for delta in (2, 3, -1, -2) * 12
            ]
            commands = [*buying, *stocking]
            shop.chance.shuffle(commands)
            attempts = await crowd.all_at_once(commands)
            assert counts(attempts).keys() <= {WON, LOST, (200, None)}
            sold = sum(command.body["items"][0]["quantity"] for command in buying if command.acknowledged)
            added = sum(command.body["delta"] for command in stocking if command.acknowledged)
            assert shop.stocks(tea)[-1] == 20 + added - sold >= 0
            assert all(command.acknowledged for command in stocking if command.body["delta"] > 0)
            shop.check_losers(attempts)
    shop.check()
