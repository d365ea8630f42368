import asyncio
import json
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from psycopg import AsyncConnection, Connection

from eventlog import append, connecting, read
from eventlog.batch import Batch, NewEvent
from eventlog.codec import Codec
from eventlog.events import StockReserved, UserChanged, UserDeleted, UserRegistered
from eventlog.read import History, PastEvent
from eventlog.snapshots import Snapshot
from eventlog.walk import PAGE_EVENTS, exists, of_actor, walk
from tests.builders import LONG_AGO, append_events, new_event

T = TypeVar("T")
STATE_BYTES = 5_000_000

ADA = "user-00000000-0000-7000-8000-00000000000a"
BOB = "user-00000000-0000-7000-8000-00000000000b"
CUP = "product-00000000-0000-7000-8000-00000000000c"
ODD = UserRegistered("\\ \" ' \t\n\r \x01 \x7f \u2028 東京 🧾 ],[", "ada@example.org", "ada@example.org", None)


def with_connection(database_url: str, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    async def run() -> T:
        async with await connecting.connect(database_url) as connection:
            return await work(connection)

    return asyncio.run(run())


def histories(database_url: str, shapes: dict[str, int]) -> dict[str, History]:
    return with_connection(database_url, lambda connection: read.histories(connection, shapes))


def some_events(database_url: str) -> list[NewEvent]:
    events = [
        new_event(ADA, 1, ODD),
        new_event(
            BOB,
            1,
            UserRegistered("Bob", "bob@example.org", "bob@example.org", "B1"),
            datetime(1999, 12, 31, 23, 59, 59, 1, UTC),
        ),
        new_event(ADA, 2, UserChanged(name="Ada L.")),
        new_event(BOB, 2, UserDeleted()),
    ]
    append_events(database_url, events)
    return events


def test_a_page_has_the_events_in_order_as_they_were_written(database_url: str, connection: Connection) -> None:
    written = some_events(database_url)
    page = read.page(connection, 0, 4)
    assert [event.position for event in page] == [1, 2, 3, 4]
    told = [(it.stream, it.version, it.type, it.schema_version, bytes(it.data)) for it in page]
    assert told == [(it.stream, it.version, it.type, it.schema_version, it.data) for it in written]
    assert [datetime.fromisoformat(it.occurred_at) for it in page] == [it.occurred_at for it in written]
    assert Codec().decode(page[0].type, page[0].schema_version, page[0].data) == ODD


def test_a_page_ends_at_the_given_position(database_url: str, connection: Connection) -> None:
    some_events(database_url)
    assert [event.position for event in read.page(connection, 1, 3)] == [2, 3]
    assert [event.position for event in read.page(connection, 3, 99)] == [4]
    assert read.page(connection, 4, 99) == []
    assert read.page(connection, 2, 2) == []


def test_a_long_page_is_in_order(database_url: str, connection: Connection) -> None:
    events = [new_event(CUP, number, StockReserved("o", 1, number)) for number in range(1, 3_001)]
    append_events(database_url, [*events, new_event(ADA, 1, ODD)])
    whole = read.page(connection, 0, 3_001)
    assert [event.position for event in whole] == list(range(1, 3_002))
    assert [event.version for event in whole[:-1]] == list(range(1, 3_001))
    assert read.page(connection, 7, 2_950) == whole[7:2_950]
    assert read.page(connection, 2_950, 9_999) == whole[2_950:]
    assert read.page(connection, 0, 3_001, ["UserRegistered"]) == whole[3_000:]
    assert read.page(connection, 0, 3_000, ["UserRegistered"]) == []


def test_a_long_page_with_json_that_is_none_has_all_its_events(database_url: str, connection: Connection) -> None:
    events = [new_event(CUP, number, StockReserved("o", 1, number)) for number in range(1, 601)]
    half_a_pair = b'{"reason":"\\ud800"}'
    append_events(database_url, [it._replace(data=half_a_pair) if it.version == 300 else it for it in events])
    page = read.page(connection, 0, 600)
    assert [event.version for event in page] == list(range(1, 601))
    assert bytes(page[299].data) == half_a_pair


def test_a_history_is_all_events_of_a_stream(database_url: str) -> None:
    written = some_events(database_url)
    past = [PastEvent(it.version, it.type, 1, it.occurred_at, it.data.decode()) for it in written]
    assert histories(database_url, {ADA: 1, BOB: 1, CUP: 1}) == {
        ADA: History(0, None, [past[0], past[2]]),
        BOB: History(0, None, [past[1], past[3]]),
    }


def test_a_history_begins_at_its_snapshot(database_url: str) -> None:
    written = some_events(database_url)
    after = PastEvent(2, written[2].type, 1, LONG_AGO, written[2].data.decode())

    async def keep(connection: AsyncConnection) -> None:
        await append.take_head(connection)
        kept = {ADA: Snapshot(1, 7, b'{"name":"Ada"}'), BOB: Snapshot(2, 7, b'{"gone":true}')}
        await append.append(connection, Batch(snapshots=kept))

    with_connection(database_url, keep)
    assert histories(database_url, {ADA: 7, BOB: 7}) == {
        ADA: History(1, '{"name":"Ada"}', [after]),
        BOB: History(2, '{"gone":true}', []),
    }
    # Of another shape it is as if it were not there.
    assert [len(it.events) for it in histories(database_url, {ADA: 6, BOB: 8}).values()] == [2, 2]


def test_the_state_of_a_snapshot_is_read_once_however_many_events_follow(database_url: str) -> None:
    state = b'"%b"' % (b"x" * STATE_BYTES)
    append_events(database_url, [new_event(ADA, version, UserChanged(name="Ada")) for version in range(1, 10)])

    async def keep(connection: AsyncConnection) -> None:
        await append.take_head(connection)
        await append.append(connection, Batch(snapshots={ADA: Snapshot(1, 7, state)}))

    with_connection(database_url, keep)
    tracemalloc.start()
    try:
        (history,) = histories(database_url, {ADA: 7}).values()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (history.state, len(history.events)) == (state.decode(), 8)
    assert peak < 4 * STATE_BYTES


def test_json_is_stored_as_it_was_written(database_url: str, connection: Connection) -> None:
    written = [b"{}", b'{"a": 1.50,"a":2}', '{"\u00eb":"\\u0000 \u6771"}'.encode()]
    event = new_event(ADA, 1, ODD)
    append_events(
        database_url,
        [event._replace(version=number, data=it, metadata=it) for number, it in enumerate(written, 1)],
    )
    found = connection.execute("SELECT data::text, metadata::text FROM log.events ORDER BY position").fetchall()
    assert found == [(it.decode(), it.decode()) for it in written]


def test_claims_are_found_byte_by_byte(database_url: str) -> None:
    async def claim(connection: AsyncConnection) -> dict[str, str]:
        await append.take_head(connection)
        await append.append(connection, Batch(claimed={"sku:Cup": CUP, "email:a@x.org": ADA}))
        return await read.claims(connection, ["sku:Cup", "sku:CUP", "email:a@x.org", "sku:"])

    assert with_connection(database_url, claim) == {"sku:Cup": CUP, "email:a@x.org": ADA}


def test_the_log_is_walked_from_page_to_page(database_url: str, connection: Connection) -> None:
    number = 2 * PAGE_EVENTS + 1
    events = [new_event(CUP, version, StockReserved("o", 1, version)) for version in range(1, number + 1)]
    append_events(database_url, [new_event(ADA, 1, ODD), *events])

    def walked(*arguments: object) -> list[bytes]:
        return [bytes(event) for event in walk(connection, *arguments)]  # type: ignore[arg-type]

    everything = walked(None, 0)
    assert len(everything) == number + 1
    assert everything[0].startswith(f'{{"position" : 1, "stream" : "{ADA}", "version" : 1'.encode())
    assert walked(None, number) == everything[number:]
    assert walked(None, number + 1) == walked(None, number + 100) == []
    assert walked(None, 3, PAGE_EVENTS + 2) == everything[3 : PAGE_EVENTS + 5]
    assert walked(CUP, 0) == everything[1:]
    assert walked(CUP, PAGE_EVENTS, 2) == everything[PAGE_EVENTS + 1 : PAGE_EVENTS + 3]
    assert walked(BOB, 0) == []
    assert exists(connection, CUP)
    assert not exists(connection, BOB)


def test_pages_end_by_bytes_and_have_at_least_one_event(database_url: str, connection: Connection) -> None:
    sizes = [10, 10, 5_000, 10, 3_000, 3_000, 10]
    append_events(
        database_url,
        [new_event(f"user-{number}", 1, UserChanged(name="x" * size)) for number, size in enumerate(sizes)],
    )

    def pages(bytes_max: int, types: list[str] | None = None) -> list[list[int]]:
        found, after = [], 0
        while page := read.page(connection, after, 7, types, bytes_max):
            found.append([event.position for event in page])
            after = page[-1].position
        return found

    everything = [1, 2, 3, 4, 5, 6, 7]
    assert pages(10**6) == [everything]
    assert pages(1) == pages(1, ["UserChanged"]) == [[position] for position in everything]
    some = pages(4_000)
    assert [position for page in some for position in page] == everything
    assert 2 <= len(some) <= 4
    assert [event.position for event in read.page(connection, 2, 3, None, 4_000)] == [3]
    assert pages(1, ["UserRegistered"]) == []


def test_events_are_counted_by_minute_and_type(database_url: str, connection: Connection) -> None:
    some_events(database_url)
    found = read.counts(connection, 0, 4)
    assert [(it.type, it.events, it.first_position, it.last_position) for it in found] == [
        ("UserRegistered", 2, 1, 2),
        ("UserChanged", 1, 3, 3),
        ("UserDeleted", 1, 4, 4),
    ]
    assert read.counts(connection, 4, 9) == []


def test_large_events_of_an_actor_are_read_a_few_at_a_time(database_url: str, connection: Connection) -> None:
    large = new_event(ADA, 1, UserChanged(name="x" * 500_000))._replace(metadata=b'{"actor":{"id":"k1"}}')
    written = [large._replace(version=version) for version in range(1, 61)]
    append_events(database_url, written)
    tracemalloc.start()
    try:
        positions = [json.loads(bytes(it))["position"] for it in of_actor(connection, "k1", [], 0)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert positions == list(range(1, len(written) + 1))
    assert peak < 20_000_000  # of 30 MB
