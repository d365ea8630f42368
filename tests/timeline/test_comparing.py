"""Do the rows of one stream equal the fold of that stream?"""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import psycopg
import pytest

from eventlog.events import UserChanged, UserRegistered
from projector.projections.activity import ACTIVITY
from projector.projections.sales import SALES
from projector.projections.shop import SHOP
from projector.verify import Difference
from query.database import Reads
from tests.builders import Writing, append_events, new_event
from tests.projecting import sweep
from timeline.comparing import compare, has_rows_of
from timeline.connection import connected

pytestmark = pytest.mark.anyio
NOBODY = "0197c1c2-7d8e-7000-8000-000000000001"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def reads(anyio_backend: str, database_url: str) -> AsyncIterator[Reads]:
    async with Reads(database_url) as reads:
        yield reads


@pytest.fixture
def order(database_url: str) -> str:
    """An order of two lines, some of it cancelled, in the read tables."""
    with Writing(database_url) as writing:
        products = [writing.product(price=Decimal("2.50")) for _ in range(2)]
        order = writing.order(writing.user(), dict.fromkeys(products, 2), note="by noon")
        writing.cancel(order, {2: 1})
    sweep(database_url)
    return order


def execute(database_url: str, statement: str, *parameters: object) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(statement.encode(), parameters)


async def test_all_streams_equal_their_rows(database_url: str, reads: Reads) -> None:
    with Writing(database_url) as writing:
        writing.history()
    sweep(database_url)
    with psycopg.connect(database_url) as connection:
        streams = [stream for (stream,) in connection.execute("SELECT DISTINCT stream FROM log.events").fetchall()]
    for stream in streams:
        for whole in (False, True):
            comparison = await compare(reads, SHOP, stream, whole=whole)
            assert comparison.differences == []
            assert (comparison.equal, comparison.behind, comparison.parked) == (True, 0, False)
            assert comparison.version == comparison.last > 0
            assert all(comparison.rows.values())


async def test_each_column_that_differs_is_named(database_url: str, reads: Reads, order: str) -> None:
    execute(database_url, "UPDATE shop.orders SET total = total + 1, note = NULL WHERE id = %s", order)
    execute(database_url, "UPDATE shop.order_items SET unit_price = 2.5 WHERE (order_id, line) = (%s, 1)", order)
    comparison = await compare(reads, SHOP, f"order-{order}")
    assert comparison.differences == [
        Difference("orders", {"id": order}, "total", "11.00", "10.00"),
        Difference("orders", {"id": order}, "note", None, "by noon"),
        Difference("order_items", {"order_id": order, "line": 1}, "unit_price", "2.5", "2.50"),
    ]
    assert comparison.rows == {"orders": 1, "order_items": 2}


async def test_a_row_that_is_missing_and_one_that_is_too_much_are_named(
    database_url: str, reads: Reads, order: str
) -> None:
    execute(database_url, "UPDATE shop.order_items SET line = 7 WHERE (order_id, line) = (%s, 2)", order)
    missing, extra = (await compare(reads, SHOP, f"order-{order}")).differences
    assert (missing.key, missing.column, missing.stands) == ({"order_id": order, "line": 2}, None, None)
    assert (extra.key, extra.column, extra.should_be) == ({"order_id": order, "line": 7}, None, None)
    columns = "external_id, name, email, email_key, version, created_at, updated_at, deleted_at"
    execute(database_url, f"INSERT INTO shop.users SELECT %s, {columns} FROM shop.users LIMIT 1", NOBODY)
    stray = await compare(reads, SHOP, f"user-{NOBODY}")
    assert [it.table for it in stray.differences] == ["users"]
    assert (stray.exists, stray.last) == (True, 0)
    assert not (await compare(reads, SHOP, f"product-{NOBODY}")).exists


async def test_rows_that_lag_behind_are_not_different(database_url: str, reads: Reads, order: str) -> None:
    with Writing(database_url) as writing:
        writing.cancel(order, {1: 1})
        writing.cancel(order)
    comparison = await compare(reads, SHOP, f"order-{order}")
    assert (comparison.equal, comparison.behind) == (True, 2)
    assert (comparison.version, comparison.last) == (2, 4)


async def test_a_parked_stream_is_compared_up_to_where_it_is_held_back(database_url: str, reads: Reads) -> None:
    stream = f"user-{NOBODY}"
    registered = UserRegistered("Ada", "ada@example.org", "ada@example.org", None)
    events = [new_event(stream, 1, registered), new_event(stream, 2, UserChanged(name="Ada L."))]
    events = [events[0], events[1]._replace(type="UserMerged"), events[1]._replace(version=3)]
    await asyncio.to_thread(append_events, database_url, events)
    sweep(database_url)
    comparison = await compare(reads, SHOP, stream)
    assert (comparison.equal, comparison.parked, comparison.version, comparison.last) == (True, True, 1, 3)


async def test_sums_over_many_streams_have_no_rows_of_one(order: str) -> None:
    assert has_rows_of(SHOP, f"order-{order}")
    assert not has_rows_of(SALES, f"order-{order}")
    assert not has_rows_of(ACTIVITY, f"order-{order}")


async def test_a_single_connection_answers_as_the_pool_does(database_url: str, reads: Reads, order: str) -> None:
    execute(database_url, "UPDATE shop.orders SET note = 'x' WHERE id = %s", order)
    async with connected(database_url, "orders verify") as connection:
        assert await compare(connection, SHOP, f"order-{order}") == await compare(reads, SHOP, f"order-{order}")
