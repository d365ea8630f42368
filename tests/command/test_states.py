"""What the write side knows of a stream: little to load however long it is, and never wrong."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from command.deciding import SNAPSHOT_EVERY_EVENTS
from command.domain.placing import WantedLine
from command.domain.refusals import OutOfStock, UnknownProduct
from command.orders import PlaceOrder, ProductRef
from command.products import ChangeProduct
from command.states import KINDS, Cache, States, shape_of
from command.submission import Answer, Command
from command.users import ChangeUser, DeleteUser, RegisterUser
from contract.names import split
from contract.times import rfc3339
from eventlog import connecting, read
from eventlog.codec import Codec, UnreadableEvent
from eventlog.events import ProductAdded, ProductChanged, StockAdjusted
from eventlog.ids import new_id
from tests.command.driving import Driver, cancel, check_log, driving, execute, place, restock, rows, stock_of

pytestmark = pytest.mark.anyio


@contextlib.contextmanager
def memory_grows_at_most(bytes_max: int) -> Iterator[States]:
    """New states, which must not take more than that at the end of the block."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield States(Codec())
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < bytes_max


async def popular(writer: Driver, events: int) -> str:
    """A product to which so much has happened."""
    tea = await writer.product(stock=1)
    await asyncio.gather(*[writer.do(restock(tea, 1)) for _ in range(events - 2)])
    return tea


async def loaded(database_url: str, stream: str) -> read.History:
    connection = await connecting.connect(database_url)
    try:
        return (await read.histories(connection, {stream: shape_of(stream)}))[stream]
    finally:
        await connection.close()


async def answers_alike(database_url: str, tea: str, stock: int) -> dict[str, Any]:
    """What a process that has just started answers about the product, without changing it."""
    async with driving(database_url) as fresh:
        shown = await fresh.shown(ChangeProduct(tea, "Tea", Decimal("2.5"), None))
    assert shown["stock"] == stock
    return shown


@pytest.mark.parametrize(
    "events", [2, SNAPSHOT_EVERY_EVENTS - 1, SNAPSHOT_EVERY_EVENTS, SNAPSHOT_EVERY_EVENTS + 1, 300]
)
async def test_a_long_stream_is_loaded_from_a_snapshot_and_the_few_events_behind_it(
    writer: Driver, events: int
) -> None:
    tea = await popular(writer, events)
    history = await loaded(writer.database_url, f"product-{tea}")
    behind = [it.version for it in history.events]
    assert len(behind) == events % SNAPSHOT_EVERY_EVENTS < SNAPSHOT_EVERY_EVENTS
    assert history.version == events - len(behind)
    assert behind == list(range(history.version + 1, events + 1))
    assert (history.state is None) == (events < SNAPSHOT_EVERY_EVENTS)
    shown = await answers_alike(writer.database_url, tea, events - 1)
    assert shown["version"] == events


async def test_snapshots_can_be_deleted_and_come_again(writer: Driver) -> None:
    tea = await popular(writer, 100)
    before = await answers_alike(writer.database_url, tea, 99)
    execute(writer.database_url, "DELETE FROM log.snapshots")
    assert await answers_alike(writer.database_url, tea, 99) == before
    async with driving(writer.database_url) as fresh:
        await asyncio.gather(*[fresh.do(restock(tea, 1)) for _ in range(SNAPSHOT_EVERY_EVENTS)])
    assert rows(writer.database_url, "SELECT version FROM log.snapshots") == [(104,)]


async def test_a_snapshot_of_another_shape_is_not_read(writer: Driver) -> None:
    tea = await popular(writer, 100)
    before = await answers_alike(writer.database_url, tea, 99)
    execute(writer.database_url, """UPDATE log.snapshots SET shape = shape + 1, state = '{"stock": "many"}'""")
    assert await answers_alike(writer.database_url, tea, 99) == before


async def test_every_kind_of_state_survives_its_snapshot(writer: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=1000)
    order_id = await writer.order(ada, (tea, 100))
    last = f"Ada {SNAPSHOT_EVERY_EVENTS - 1}"
    for number in range(SNAPSHOT_EVERY_EVENTS):
        await writer.do(ChangeUser(ada, f"Ada {number}", f"{ada}@example.org", None))
        await writer.do(cancel(order_id, {1: 1}))
    kinds = rows(writer.database_url, "SELECT split_part(stream, '-', 1) FROM log.snapshots ORDER BY 1")
    assert [kind for (kind,) in kinds] == sorted(KINDS)
    async with driving(writer.database_url) as fresh:
        from_snapshots = await fresh.shown(cancel(order_id, {1: 1}))
        user = await fresh.shown(ChangeUser(ada, last, f"{ada}@example.org", None))
    assert (user["name"], user["version"]) == (last, SNAPSHOT_EVERY_EVENTS + 1)
    assert (from_snapshots["cancelled_total"], from_snapshots["items"][0]["cancelled_quantity"]) == ("22.50", 9)
    execute(writer.database_url, "DELETE FROM log.snapshots")
    async with driving(writer.database_url) as fresh:
        from_events = await fresh.shown(cancel(order_id))
    changed = {"status", "cancelled_total", "items", "cancelled_at", "updated_at", "version"}
    assert {name: it for name, it in from_events.items() if name not in changed} == {
        name: it for name, it in from_snapshots.items() if name not in changed
    }


async def test_a_resource_shows_the_same_times_before_and_after_it_is_loaded(writer: Driver) -> None:
    ada = await writer.user()
    here = await writer.shown(ChangeUser(ada, "Ada L.", f"{ada}@example.org", None))
    async with driving(writer.database_url) as fresh:
        assert await fresh.shown(ChangeUser(ada, "Ada L.", f"{ada}@example.org", None)) == here
    ((first,), (last,)) = rows(writer.database_url, "SELECT occurred_at FROM log.events ORDER BY position")
    assert (here["created_at"], here["updated_at"]) == (rfc3339(first), rfc3339(last))


DAMAGES = {
    "an unknown type": "'ProductPainted', 1, '{}'",
    "a version from the future": "'StockAdjusted', 99, '{}'",
    "data of another shape": """'StockAdjusted', 1, '{"delta": "many"}'""",
    "an event of another kind of stream": "'UserDeleted', 1, '{}'",
}


async def damage(database_url: str, stream: str, event: str) -> None:
    """Append an event that this release cannot read, as a newer one might."""
    execute(
        database_url,
        f"""
        WITH head AS (UPDATE log.head SET position = position + 1 RETURNING position)
        INSERT INTO log.events
            (position, stream, version, type, schema_version, data, occurred_at, recorded_at, metadata)
        SELECT head.position, %s, 1 + (SELECT count(*) FROM log.events WHERE stream = %s), {event}, now(), now(), '{{}}'
        FROM head
        """,
        stream,
        stream,
    )


@pytest.mark.parametrize("event", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_product_that_cannot_be_read_hurts_its_own_commands_only(writer: Driver, event: str) -> None:
    ada, tea, cup = await writer.user(), await writer.product(), await writer.product()
    await damage(writer.database_url, f"product-{tea}", event)
    commands: list[Command] = [
        place(ada, (cup, 1)),
        place(ada, (tea, 1)),
        restock(tea, 1),
        place(ada, (cup, 1), (tea, 1)),
        restock(cup, 1),
    ]
    answers = await asyncio.gather(*map(writer.do, commands), return_exceptions=True)
    broken = UnreadableEvent
    assert [type(it) for it in answers] == [Answer, broken, broken, broken, Answer]
    assert stock_of(writer.database_url, cup) == 10


@pytest.mark.parametrize("owner", ["nonsense", "basket-1", "user-0197c1c2-7d8e-7c3a-9d51-5a0c1e2f3a4b", "product-", ""])
async def test_a_claim_of_a_stream_that_cannot_have_it_hurts_its_own_commands_only(writer: Driver, owner: str) -> None:
    ada, cup = await writer.user(), await writer.product()
    execute(writer.database_url, "INSERT INTO log.claims (claim, stream) VALUES ('sku:lost', %s)", owner)
    lost = PlaceOrder(new_id(), ada, (ProductRef(None, "lost"),), (WantedLine(1),))
    commands = [place(ada, (cup, 1)), lost, place(ada, (cup, 1))]
    answers = await asyncio.gather(*map(writer.do, commands), return_exceptions=True)
    refused = UnknownProduct if owner == "product-" else UnreadableEvent
    assert [type(it) for it in answers] == [Answer, refused, Answer]
    assert stock_of(writer.database_url, cup) == 8


async def test_an_order_that_cannot_be_read_hurts_its_own_commands_only(writer: Driver) -> None:
    ada, tea = await writer.user(), await writer.product()
    broken, whole = [await writer.order(ada, (tea, 1)) for _ in range(2)]
    await damage(writer.database_url, f"order-{broken}", "'OrderPainted', 1, '{}'")
    answers = await asyncio.gather(*[writer.do(cancel(it)) for it in (broken, whole)], return_exceptions=True)
    assert [type(it) for it in answers] == [UnreadableEvent, Answer]
    assert stock_of(writer.database_url, tea) == 9


@pytest.mark.parametrize(
    "state", ["{}", "[]", '{"stock": "many"}', "null", r'"\ud800"', '{"x":' + "[" * 2_000 + "]" * 2_000 + "}"]
)
async def test_a_snapshot_that_cannot_be_read_is_ignored_and_made_again(writer: Driver, state: str) -> None:
    tea = await popular(writer, 40)
    before = await answers_alike(writer.database_url, tea, 39)
    execute(writer.database_url, "UPDATE log.snapshots SET state = %s", state)
    assert await answers_alike(writer.database_url, tea, 39) == before
    ((version, made_again),) = rows(writer.database_url, "SELECT version, state FROM log.snapshots")
    assert (version, made_again["stock"]) == (40, 39)
    check_log(writer.database_url)


async def test_releases_with_different_shapes_do_not_overwrite_each_others_snapshots(writer: Driver) -> None:
    tea = await popular(writer, 40)
    execute(
        writer.database_url,
        """INSERT INTO log.snapshots (stream, shape, version, state)
        SELECT stream, other, other, '{}' FROM log.snapshots, (VALUES (1), (2), (3)) AS others (other)""",
    )
    async with driving(writer.database_url) as fresh:
        await asyncio.gather(*[fresh.do(restock(tea, 1)) for _ in range(SNAPSHOT_EVERY_EVENTS)])
    # The newest of the other shapes stays, and the older ones are deleted.
    kept = "SELECT shape, version FROM log.snapshots ORDER BY version"
    assert rows(writer.database_url, kept) == [(3, 3), (shape_of(f"product-{tea}"), 48)]


async def test_a_batch_reads_a_bounded_tail_and_the_loader_the_rest(writer: Driver) -> None:
    tea = await popular(writer, 300)
    before = await answers_alike(writer.database_url, tea, 299)
    execute(writer.database_url, "DELETE FROM log.snapshots")
    assert await answers_alike(writer.database_url, tea, 299) == before
    assert rows(writer.database_url, "SELECT version FROM log.snapshots") == [(300,)]


async def test_a_long_stream_that_lacks_versions_is_loaded_to_its_end(writer: Driver) -> None:
    tea = await popular(writer, 40)
    execute(
        writer.database_url,
        """
        WITH head AS (UPDATE log.head SET position = position + 40 RETURNING position)
        INSERT INTO log.events
            (position, stream, version, type, schema_version, data, occurred_at, recorded_at, metadata)
        SELECT head.position - 40 + number, stream, 5000 + number, type, schema_version, data, now(), now(), '{}'
        FROM head, generate_series(1, 40) AS number, log.events WHERE stream = %s AND version = 2
        """,
        f"product-{tea}",
    )
    execute(writer.database_url, "DELETE FROM log.snapshots")
    async with asyncio.timeout(5), driving(writer.database_url) as fresh:
        assert (await fresh.do(restock(tea, 1))).version == 5041


async def test_a_long_stream_with_an_event_that_cannot_be_read_hurts_its_own_commands_only(writer: Driver) -> None:
    tea, cup = await popular(writer, 200), await writer.product()
    await damage(writer.database_url, f"product-{tea}", DAMAGES["an unknown type"])
    execute(writer.database_url, "DELETE FROM log.snapshots")
    async with driving(writer.database_url) as fresh:
        answers = await asyncio.gather(*[fresh.do(restock(it, 1)) for it in (tea, cup)], return_exceptions=True)
        assert [type(it) for it in answers] == [UnreadableEvent, Answer]
    assert rows(writer.database_url, "SELECT version FROM log.snapshots") == [(200,)]
    async with driving(writer.database_url) as fresh:
        with pytest.raises(UnreadableEvent):
            await fresh.do(restock(tea, 1))


async def test_an_importer_keeps_the_order_of_its_commands_while_a_stream_is_loaded(writer: Driver) -> None:
    ada, tea, order_id = await writer.user(), await popular(writer, 200), new_id()
    execute(writer.database_url, "DELETE FROM log.snapshots")
    async with driving(writer.database_url, is_patient=True) as fresh:
        commands: list[Command] = [place(ada, (tea, 1), order_id=order_id), cancel(order_id), restock(tea, 1)]
        answers = await asyncio.gather(*map(fresh.do, commands))
    assert [it.status for it in answers] == [201, 200, 200]
    assert [it.position for it in answers] == sorted(it.position for it in answers)
    check_log(writer.database_url)


async def test_far_behind_a_writer_starts_afresh_and_is_right(writer: Driver, other: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=20_000)
    await other.do(place(ada, (tea, 1)))
    position = 0
    while position < 10_100:
        *_, last = await asyncio.gather(*[writer.do(restock(tea, -1)) for _ in range(1_000)])
        position = last.position
    stock = stock_of(writer.database_url, tea)
    assert (await other.shown(restock(tea, -1)))["stock"] == stock - 1
    with pytest.raises(OutOfStock):
        await other.do(restock(tea, -stock))


async def test_a_deleted_resource_stays_known_as_deleted(writer: Driver, other: Driver) -> None:
    ada = new_id()
    await writer.do(RegisterUser(ada, "Ada", "ada@example.org", None))
    await writer.do(DeleteUser(ada, None))
    before = check_log(writer.database_url)
    assert [(await it.do(DeleteUser(ada, None))).position for it in (other, writer)] == [before, before]


LONGEST = 1_000  # characters, more than any field may have
KNOWN_BYTES_MAX = 64 * 1024**2


def test_the_states_of_streams_are_bounded_in_bytes_and_the_oldest_are_dropped() -> None:
    with memory_grows_at_most(KNOWN_BYTES_MAX) as states:
        for number in range(50_000):
            name = f"{number}".rjust(LONGEST, "\N{TEAPOT}")
            states.evolve(f"product-{number}", ProductAdded("TEA", name, "2.50", "EUR", True), "now")
            if number % 100 == 0:
                states.trim()
        states.trim()
        assert "product-1" not in states
        entity = states.product("49999")
        assert entity is not None
        assert states.evolve("product-49999", StockAdjusted(1, "found", 1), "now").version == 2


def test_states_that_become_larger_are_bounded_in_bytes() -> None:
    with memory_grows_at_most(KNOWN_BYTES_MAX) as states:
        for number in range(20_000):
            states.evolve(f"product-{number}", ProductAdded("TEA", "Tea", "2.50", "EUR", True), "now")
        for number in range(20_000):
            if f"product-{number}" in states:
                states.evolve(f"product-{number}", ProductChanged(f"{number}".rjust(3_000, "\N{TEAPOT}")), "now")
            if number % 100 == 0:
                states.trim()


async def test_the_owners_of_skus_are_bounded_in_bytes(writer: Driver) -> None:
    """A SKU that was looked up is kept, as nobody ever gives it up."""
    skus = [f"{number}".rjust(LONGEST, "\N{TEAPOT}") for number in range(50_000)]
    insert = "INSERT INTO log.claims (claim, stream) SELECT 'sku:' || unnest(%s::text[]), 'product-1'"
    for first in range(0, len(skus), 5_000):
        execute(writer.database_url, insert, skus[first : first + 5_000])
    connection = await connecting.connect(writer.database_url)
    try:
        with memory_grows_at_most(KNOWN_BYTES_MAX) as states:
            for first in range(0, len(skus), 1_000):
                await states.load(connection, [f"sku:{sku}" for sku in skus[first : first + 1_000]])
                states.trim()
            assert f"sku:{skus[0]}" not in states
            assert states.owner(f"sku:{skus[-1]}") == "product-1"
    finally:
        await connection.close()


def test_a_stream_is_a_kind_and_an_id() -> None:
    assert split("order-0190aaaa-0000-7000-8000-000000000000") == ("order", "0190aaaa-0000-7000-8000-000000000000")


def test_the_size_of_the_cache_returns_to_zero_when_its_entries_have_been_encoded() -> None:
    cache: Cache[str | None] = Cache()
    owner = "Crème brûlée".replace("x", "")  # a text of its own, which Python has not encoded yet
    cache.put("claim", owner)
    assert cache.bytes > 0
    msgspec.json.encode(owner)  # Python keeps the encoded text in it
    cache.drop("claim")
    assert cache.bytes == 0
