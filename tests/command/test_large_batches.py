"""How large a command is shows when it is decided: batches end when they are full, and small commands do not wait."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import psycopg
import pytest

from command.deciding import BATCH_BYTES_MAX, BATCH_ROWS_MAX, IMPORT_ROWS_MAX
from command.domain.refusals import NotCancellable, OutOfStock
from command.placed_orders import CancelOrder
from command.submission import Answer, Key, KeyReused, Submission
from command.trial import Trial
from contract.times import rfc3339
from eventlog.idempotency import BODIES_BYTES_MAX
from tests.builders import LONG_AGO
from tests.command.driving import Driver, cancel, check_log, driving, execute, place, restock, rows, submission

pytestmark = pytest.mark.anyio

LINES = 1_000


@dataclass
class Large:
    """A shop with orders of a thousand products."""

    ada: str
    tea: str
    products: list[str]
    orders: list[str]

    @classmethod
    async def of(cls, database_url: str, orders: int) -> "Large":
        async with driving(database_url, is_patient=True) as driver:
            ada, tea = await driver.user(), await driver.product(stock=100_000)
            products = await asyncio.gather(*[driver.product(stock=100_000) for _ in range(LINES)])
            lines = [(product, 1) for product in products]
            placed = await asyncio.gather(*[driver.order(ada, *lines) for _ in range(orders)])
            return cls(ada, tea, list(products), list(placed))


@pytest.fixture
async def patient(database_url: str) -> AsyncIterator[Driver]:
    """A writer as an import has it."""
    async with driving(database_url, is_patient=True) as driver:
        yield driver


def largest_transaction(database_url: str, event_type: str) -> int:
    """The most events that one transaction appended, of those that appended an event of this type."""
    ((most,),) = rows(
        database_url,
        "SELECT max(count) FROM (SELECT count(*), bool_or(type = %s) AS counts FROM log.events GROUP BY xmin) AS it "
        "WHERE counts",
        event_type,
    )
    assert isinstance(most, int)
    return most


@pytest.mark.parametrize(
    ("is_patient", "rows_max"),
    [pytest.param(False, BATCH_ROWS_MAX, id="impatient"), pytest.param(True, IMPORT_ROWS_MAX, id="patient")],
)
async def test_a_batch_of_cancellations_ends_when_it_is_full(
    database_url: str, is_patient: bool, rows_max: int
) -> None:
    shop = await Large.of(database_url, 7)
    async with driving(database_url, is_patient=is_patient) as driver:
        answers = await asyncio.gather(*[driver.do(cancel(order)) for order in shop.orders])
        assert driver.writer.batches >= len(shop.orders) // 2
    assert [it.status for it in answers] == [200] * len(shop.orders)
    assert [it.position for it in answers] == sorted(it.position for it in answers)
    assert rows_max < largest_transaction(database_url, "OrderCancelled") < rows_max + LINES + 1
    check_log(database_url)


async def test_a_batch_of_orders_with_much_text_ends_when_it_is_full(writer: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=None)
    before = writer.writer.batches
    answers = await asyncio.gather(*[writer.do(place(ada, *[(tea, 1)] * LINES)) for _ in range(20)])
    each = len(answers[0].body)
    # Each has one event only, with about as many bytes as its answer.
    assert writer.writer.batches - before >= 20 * each // BATCH_BYTES_MAX
    check_log(writer.database_url)


async def test_small_commands_do_not_wait_for_large_ones(database_url: str) -> None:
    shop = await Large.of(database_url, 10)
    async with driving(database_url) as driver:
        large = [driver.submit(submission(cancel(order))) for order in shop.orders]
        await large[0]
        small = [place(shop.ada, (product, 1), (shop.tea, 1)) for product in shop.products[:100]]
        answers = await asyncio.gather(*map(driver.do, small))
        assert driver.writer.batches <= 3
        assert [it.status for it in answers] == [201] * len(small)
        assert not all(it.done() for it in large)
        assert [(await it).status for it in large] == [200] * len(large)
    check_log(database_url)


async def test_a_small_command_does_not_wait_for_a_second_full_batch(database_url: str) -> None:
    shop = await Large.of(database_url, 10)
    async with driving(database_url) as driver:
        large = [driver.submit(submission(cancel(order))) for order in shop.orders]
        await asyncio.sleep(0.005)  # the first of them are in a batch now
        small = await driver.do(place(shop.ada, (shop.tea, 1)))
        assert driver.writer.batches == 2
        await asyncio.gather(*large)
    in_its_batch = (
        "SELECT type FROM log.events WHERE xmin = (SELECT xmin FROM log.events WHERE position = %s) ORDER BY 1"
    )
    assert rows(database_url, in_its_batch, small.position) == [("OrderPlaced",), ("StockReserved",)]
    check_log(database_url)


async def test_a_batch_of_large_orders_that_are_refused_ends_when_it_is_full(database_url: str) -> None:
    shop = await Large.of(database_url, 0)
    async with driving(database_url) as driver:
        too_much = place(shop.ada, *[(product, 1_000_000) for product in shop.products])
        answers = await asyncio.gather(*[driver.do(too_much) for _ in range(10)], return_exceptions=True)
        assert {type(it) for it in answers} == {OutOfStock}
        assert driver.writer.batches >= 10 * LINES // BATCH_ROWS_MAX


async def test_a_batch_of_large_orders_that_are_only_tried_ends_when_it_is_full(database_url: str) -> None:
    shop = await Large.of(database_url, 0)
    async with driving(database_url) as driver:
        cart = Trial(place(shop.ada, *[(product, 1) for product in shop.products]), rfc3339(LONG_AGO))
        await driver.do(cart)  # the next ones find the products loaded
        before = driver.writer.batches
        answers = await asyncio.gather(*[driver.do(cart) for _ in range(10)])
        assert [it.status for it in answers] == [200] * 10
        assert driver.writer.batches - before >= 10 * LINES // BATCH_ROWS_MAX


async def test_small_commands_that_came_with_large_ones_are_in_their_batch(database_url: str) -> None:
    shop = await Large.of(database_url, 7)
    async with driving(database_url) as driver:
        large = [driver.submit(submission(cancel(order))) for order in shop.orders]
        assert (await driver.do(place(shop.ada, (shop.tea, 1)))).status == 201
        assert driver.writer.batches == 1
        await asyncio.gather(*large)
    check_log(database_url)


async def test_a_patient_writer_keeps_the_order_whatever_is_put_back(database_url: str, patient: Driver) -> None:
    shop = await Large.of(database_url, 5)
    commands = [it for order in shop.orders for it in (cancel(order), place(shop.ada, (shop.tea, 1)))]
    # Two for each order, the second of which finds nothing left.
    again = [CancelOrder(order, {1: 1}, None) for order in shop.orders]
    answers = await asyncio.gather(*map(patient.do, [*commands, *again]), return_exceptions=True)
    positions = [it.position for it in answers[: len(commands)] if isinstance(it, Answer)]
    assert len(positions) == len(commands)
    assert positions == sorted(positions)
    assert {type(it) for it in answers[len(commands) :]} == {NotCancellable}
    check_log(database_url)


async def test_a_failed_batch_does_not_fail_commands_that_it_put_back(database_url: str) -> None:
    shop = await Large.of(database_url, 7)
    async with driving(database_url) as driver:
        first = driver.submit(Submission(cancel(shop.orders[0]), b"this is no JSON"))
        others = [driver.submit(submission(cancel(order))) for order in shop.orders[1:]]
        with pytest.raises(psycopg.DataError):
            await first
        answers = await asyncio.gather(*others, return_exceptions=True)
        failed = [it for it in answers if not isinstance(it, Answer)]
        assert len(failed) <= BATCH_ROWS_MAX // LINES
        assert all(isinstance(it, Answer) for it in answers[len(failed) :])
    check_log(database_url)


async def test_a_failed_batch_does_not_fail_commands_that_wait_for_a_long_stream(writer: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=100_000)
    await asyncio.gather(*[writer.do(restock(tea, 1)) for _ in range(200)])
    execute(writer.database_url, "DELETE FROM log.snapshots")
    async with driving(writer.database_url) as driver:
        first = driver.submit(Submission(place(ada, (await writer.product(), 1)), b"this is no JSON"))
        waits = driver.submit(submission(place(ada, (tea, 1))))
        with pytest.raises(psycopg.DataError):
            await first
        assert (await waits).status == 201
    check_log(writer.database_url)


async def test_a_command_that_is_put_back_keeps_its_key(database_url: str) -> None:
    shop = await Large.of(database_url, 6)
    async with driving(database_url) as driver:
        asked = [
            driver.do(cancel(order), Key(b"caller", order, b"fingerprint")) for _ in range(3) for order in shop.orders
        ]
        answers = await asyncio.gather(*asked)
        for number in range(len(shop.orders)):
            same = answers[number :: len(shop.orders)]
            assert len({(it.status, it.version, it.body, it.position) for it in same}) == 1
            assert sorted(it.replayed for it in same) == [False, True, True]
    assert rows(database_url, "SELECT count(*) FROM log.events WHERE type = 'OrderCancelled'") == [(6,)]
    check_log(database_url)


async def test_large_answers_that_are_given_again_are_read_bit_by_bit(database_url: str) -> None:
    shop = await Large.of(database_url, 24)
    async with driving(database_url, is_patient=True) as driver:
        keys = {order: Key(b"caller", order, b"fingerprint") for order in shop.orders}
        first = await asyncio.gather(*[driver.do(cancel(order), key) for order, key in keys.items()])
    async with driving(database_url) as driver:
        again = await asyncio.gather(*[driver.do(cancel(order), key) for order, key in keys.items()])
        size = sum(len(it.body) for it in again)
        assert size // BODIES_BYTES_MAX <= driver.writer.batches <= 1 + size // BODIES_BYTES_MAX
        assert size > 2 * BODIES_BYTES_MAX
        # A key that was used for another request is refused, whether its answer was read or not.
        reused = [driver.do(cancel(order), key._replace(fingerprint=b"other")) for order, key in keys.items()]
        refusals = await asyncio.gather(*reused, return_exceptions=True)
    assert [(it.body, it.position, it.replayed) for it in again] == [(it.body, it.position, True) for it in first]
    assert {type(it) for it in refusals} == {KeyReused}
    check_log(database_url)


async def test_an_import_of_large_cancellations_is_not_one_batch_that_takes_too_long(database_url: str) -> None:
    shop = await Large.of(database_url, 30)
    async with driving(database_url, is_patient=True, batch_seconds_max=0.8) as driver:
        answers = await asyncio.gather(*[driver.do(cancel(order)) for order in shop.orders], return_exceptions=True)
    assert [type(it) for it in answers] == [Answer] * len(shop.orders)
    check_log(database_url)
