"""Two processes at the same products, orders and names: every race has one winner, and nothing is lost or doubled."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal

import pytest

from command.domain.placing import WantedLine
from command.domain.refusals import (
    EmailTaken,
    ExternalIdTaken,
    NotCancellable,
    OutOfStock,
    Refused,
    SkuTaken,
    UnknownProduct,
)
from command.orders import PlaceOrder, ProductRef
from command.products import AddProduct, DiscontinueProduct
from command.submission import Answer, Command
from command.users import ChangeUser, DeleteUser, RegisterUser
from eventlog.ids import new_id
from tests.command.driving import Driver, cancel, check_log, events_of, place, restock, rows, stock_of

pytestmark = pytest.mark.anyio


async def test_the_last_unit_is_sold_once_to_fifty_buyers(writer: Driver, other: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=1)
    answers = await asyncio.gather(
        *[it.do(place(ada, (tea, 1))) for _ in range(25) for it in (writer, other)], return_exceptions=True
    )
    assert sorted(type(it).__name__ for it in answers) == ["Answer"] + ["OutOfStock"] * 49
    assert stock_of(writer.database_url, tea) == 0
    check_log(writer.database_url)


async def test_orders_of_products_in_opposite_order_do_not_deadlock(writer: Driver, other: Driver) -> None:
    ada = await writer.user()
    tea, cup = await writer.product(stock=200), await writer.product(stock=200)
    for _ in range(10):
        there = [writer.do(place(ada, (tea, 1), (cup, 1))) for _ in range(5)]
        back = [other.do(place(ada, (cup, 1), (tea, 1))) for _ in range(5)]
        await asyncio.gather(*there, *back)
    assert [stock_of(writer.database_url, it) for it in (tea, cup)] == [100, 100]
    check_log(writer.database_url)


async def test_two_processes_take_turns_and_see_each_others_events(writer: Driver, other: Driver) -> None:
    ada, tea = await writer.user(), await other.product(stock=0)
    for turn in range(8):
        first, second = (writer, other) if turn % 2 else (other, writer)
        assert (await first.shown(restock(tea, 2)))["stock"] == turn + 2
        order = await second.shown(place(ada, (tea, 1)))
        assert stock_of(writer.database_url, tea) == turn + 1
        assert (await first.shown(cancel(order["id"])))["status"] == "cancelled"
        with pytest.raises(NotCancellable):
            await second.do(cancel(order["id"], {1: 1}))
        await first.do(place(ada, (tea, 1)))
    check_log(writer.database_url)


async def test_an_order_is_cancelled_once_by_ten_at_a_time(writer: Driver, other: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=10)
    order_id = await writer.order(ada, (tea, 7))
    answers = await asyncio.gather(*[it.do(cancel(order_id)) for _ in range(5) for it in (writer, other)])
    assert {(it.status, it.version) for it in answers} == {(200, 2)}
    assert [kind for kind, _ in events_of(writer.database_url, f"order-{order_id}")] == [
        "OrderPlaced",
        "OrderCancelled",
    ]
    assert stock_of(writer.database_url, tea) == 10


async def test_an_order_races_its_own_cancellation(writer: Driver, other: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=10)
    for _ in range(10):
        order_id = new_id()
        asked = [writer.do(place(ada, (tea, 10), order_id=order_id))]
        asked += [it.do(cancel(order_id)) for _ in range(3) for it in (other, writer)]
        await asyncio.gather(*asked, return_exceptions=True)
        await other.do(cancel(order_id))
        assert stock_of(writer.database_url, tea) == 10
        assert len(events_of(writer.database_url, f"order-{order_id}")) == 2
    check_log(writer.database_url)


async def test_pieces_of_a_line_are_cancelled_no_more_than_once(writer: Driver, other: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=7)
    order_id = await writer.order(ada, (tea, 7))
    answers = await asyncio.gather(
        *[it.do(cancel(order_id, {1: 1})) for _ in range(10) for it in (writer, other)], return_exceptions=True
    )
    assert sum(isinstance(it, Answer) for it in answers) == 7
    assert sum(isinstance(it, NotCancellable) for it in answers) == 13
    assert (await other.shown(cancel(order_id)))["status"] == "cancelled"
    assert stock_of(writer.database_url, tea) == 7


async def test_a_name_is_taken_once(writer: Driver, other: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=None)
    both = [it for _ in range(5) for it in (writer, other)]
    races: dict[type[Refused], Callable[[], Command]] = {
        EmailTaken: lambda: RegisterUser(new_id(), "Ada", "ada@example.org", None),
        SkuTaken: lambda: AddProduct(new_id(), "TEA", "Tea", Decimal(1), "EUR", 0),
        ExternalIdTaken: lambda: place(ada, (tea, 1), external_id="A-1"),
    }
    for refusal, command in races.items():
        answers = await asyncio.gather(*[it.do(command()) for it in both], return_exceptions=True)
        assert sorted(type(it).__name__ for it in answers) == sorted(["Answer"] + [refusal.__name__] * 9)
    claims = rows(writer.database_url, "SELECT claim FROM log.claims WHERE stream <> %s", f"user-{ada}")
    assert {"email:ada@example.org", "sku:TEA", "order:A-1"} <= {claim for (claim,) in claims}


async def test_an_address_is_given_up_and_taken_again(writer: Driver, other: Driver) -> None:
    ada, bob = new_id(), new_id()
    await writer.do(RegisterUser(ada, "Ada", "one@example.org", None))
    await other.do(RegisterUser(bob, "Bob", "two@example.org", None))
    await writer.do(ChangeUser(ada, "Ada", "three@example.org", None))
    await other.do(ChangeUser(bob, "Bob", "one@example.org", None))
    # In one batch: given up, taken by another, given up by that one, and taken back.
    eve = new_id()
    await asyncio.gather(
        writer.do(ChangeUser(bob, "Bob", "two@example.org", None)),
        writer.do(RegisterUser(eve, "Eve", "ONE@example.org", None)),
        writer.do(DeleteUser(eve, None)),
        writer.do(ChangeUser(ada, "Ada", "one@example.org", None)),
    )
    # In one batch: taken and given up, which leaves nothing.
    await asyncio.gather(
        writer.do(RegisterUser(eve := new_id(), "Eve", "four@example.org", "E-1")), writer.do(DeleteUser(eve, None))
    )
    claims = rows(writer.database_url, "SELECT claim, stream FROM log.claims ORDER BY 1")
    assert claims == [("email:one@example.org", f"user-{ada}"), ("email:two@example.org", f"user-{bob}")]
    with pytest.raises(EmailTaken):
        await other.do(RegisterUser(new_id(), "Eve", "one@EXAMPLE.org", None))


async def test_a_process_finds_a_sku_that_another_process_added(writer: Driver, other: Driver) -> None:
    ada = await writer.user()

    def order() -> PlaceOrder:
        return PlaceOrder(new_id(), ada, (ProductRef(None, "TEA"),), (WantedLine(1),))

    for it in (writer, other):
        with pytest.raises(UnknownProduct):
            await it.do(order())
    tea = new_id()
    await writer.do(AddProduct(tea, "TEA", "Tea", Decimal(1), "EUR", 3))
    assert [(await it.do(order())).status for it in (other, writer, other)] == [201, 201, 201]
    with pytest.raises(OutOfStock):
        await writer.do(order())
    await other.do(DiscontinueProduct(tea, None))


async def test_a_busy_hour_over_two_processes_adds_up(writer: Driver, other: Driver) -> None:
    dice = random.Random(7)  # noqa: S311 - a die that falls the same way every time
    ada = await writer.user()
    products = [await writer.product(stock=20) for _ in range(5)]
    orders: list[str] = []
    refused = Counter[Driver]()

    async def client(till: Driver) -> None:
        for _ in range(20):
            lines = [(it, dice.randint(1, 4)) for it in dice.choices(products, k=dice.randint(1, 4))]
            order_id = dice.choice(orders) if orders else new_id()
            commands: list[Command] = [place(ada, *lines), cancel(order_id, {1: 1}), cancel(order_id)]
            try:
                orders.append((await till.shown(dice.choice(commands)))["id"])
            except Refused:
                refused[till] += 1

    await asyncio.gather(*[client(it) for _ in range(8) for it in (writer, other)])
    assert check_log(writer.database_url) > 100
    assert refused[writer] > 10
    for order_id in orders:
        await other.do(cancel(order_id))
    assert [stock_of(writer.database_url, it) for it in products] == [20] * 5
