"""Every select reads shop.checkpoint first: for the Sync-Token, and so that a swap of the tables holds it there."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

# Not public, but it decides whether a statement is taken apart once or every time.
from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH

from contract.callers import EVERYONE
from query.database import Reads
from query.listing import Listing
from query.lookup import Lookup
from query.sync import Sync
from query.views import order_view
from readmodel.base import version_of
from readmodel.shop import METADATA as SHOP
from readmodel.shop import orders
from tests.query.rows import Rows
from tests.query.statements import Sent, every_statement, listings, pages

# What a backend holds or waits for, once it waits.
LOCKS = """
SELECT relation::regclass::text, granted FROM pg_locks
WHERE pid = %s AND relation::regclass::text LIKE 'shop.%%'
      AND EXISTS (SELECT FROM pg_locks waiting WHERE waiting.pid = pg_locks.pid AND NOT waiting.granted)
"""


@pytest.fixture(scope="module")
def lists(module_database_url: str) -> Mapping[str, Listing]:
    """Each keeps the statements that it has compiled."""
    return listings(Reads(module_database_url))


@pytest.fixture(scope="module")
def statements(module_database_url: str, lists: Mapping[str, Listing]) -> list[Sent]:
    return every_statement(Reads(module_database_url), lists)


@pytest.fixture(scope="module")
def swap(module_database_url: str) -> Iterator[psycopg.Connection]:
    """A transaction that holds the checkpoint, as the end of a replay does."""
    with psycopg.connect(module_database_url) as connection:
        connection.execute("LOCK TABLE shop.checkpoint IN ACCESS EXCLUSIVE MODE")
        yield connection


def test_the_checkpoint_is_the_first_table_of_every_statement(statements: list[Sent]) -> None:
    """Subqueries among the columns stand before it in the text, but PostgreSQL looks at FROM first."""
    assert len(statements) > 100
    for sent in statements:
        columns, found, rest = sent.statement.text.decode().partition("\nFROM shop.checkpoint")
        assert found, sent
        assert "WITH" not in columns
        assert columns.count("(") == columns.count(")"), "this FROM is not the outermost"
        assert rest.endswith(f"checkpoint.version = {version_of(SHOP)}")


def test_a_swap_holds_every_select_before_it_has_touched_another_table(
    module_database_url: str, swap: psycopg.Connection, statements: list[Sent]
) -> None:
    with (
        psycopg.connect(module_database_url, autocommit=True) as reader,
        psycopg.connect(module_database_url, autocommit=True) as onlooker,
        ThreadPoolExecutor(1) as thread,
    ):
        for sent in statements[::5]:
            answer = thread.submit(reader.execute, sent.with_values({}))
            while not (locks := onlooker.execute(LOCKS, [reader.info.backend_pid]).fetchall()):
                assert not answer.done(), sent
            onlooker.execute("SELECT pg_cancel_backend(%s)", [reader.info.backend_pid])
            with pytest.raises(psycopg.errors.QueryCanceled):
                answer.result()
            assert locks == [("shop.checkpoint", False)], sent


@pytest.mark.anyio
async def test_a_select_that_waited_for_a_swap_reads_the_new_tables(database_url: str, rows: Rows) -> None:
    """Also a prepared one, whose plan was made for the old ones."""
    order = rows.order()
    async with Reads(database_url, connections_max=1) as reads:
        lookup = Lookup(reads, orders, order_view(orders))
        for _ in range(10):
            assert (await lookup.find(order, EVERYONE)).position == 0
        async with await psycopg.AsyncConnection.connect(database_url) as swap:
            await swap.execute("CREATE SCHEMA shop_next")
            for table in ("checkpoint", "users", "products", "orders", "order_items", "parked"):
                await swap.execute(f"CREATE TABLE shop_next.{table} (LIKE shop.{table} INCLUDING ALL)".encode())
            await swap.execute("ALTER TABLE shop_next.checkpoint ALTER position_group DROP EXPRESSION")
            await swap.execute("INSERT INTO shop_next.checkpoint SELECT * FROM shop.checkpoint")
            await swap.execute("UPDATE shop_next.checkpoint SET position = 99")
            await swap.execute("LOCK TABLE shop.checkpoint IN ACCESS EXCLUSIVE MODE")
            waiting = asyncio.create_task(lookup.find(order, EVERYONE))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await swap.execute("ALTER SCHEMA shop RENAME TO shop_old")
            await swap.execute("ALTER SCHEMA shop_next RENAME TO shop")
        found = await waiting
    assert (found.position, found.body) == (99, None)


@pytest.mark.anyio
async def test_token_and_data_are_of_one_moment(database_url: str, rows: Rows) -> None:
    """Orders and checkpoint move together; no answer shows one without the other."""
    user, product = rows.user(), rows.product()
    async with Reads(database_url) as reads:
        lookup, sync = Lookup(reads, orders, order_view(orders)), Sync.of_tables(reads, SHOP)
        order = rows.order(user, [product], version=1)
        rows.reach(1)
        for _ in range(30):
            moving = asyncio.to_thread(
                rows.execute,
                "WITH moved AS (UPDATE shop.checkpoint SET position = position + 1) "
                "UPDATE shop.orders SET version = version + 1",
            )
            found, *_ = await asyncio.gather(lookup.find(order, EVERYONE), moving, sync._position())
            assert found.tag.startswith(f"{found.position}.")


def test_statements_are_short_enough_for_psycopg_to_keep_them_parsed(statements: list[Sent]) -> None:
    longest = max(len(sent.statement.text) for sent in statements)
    assert longest <= MAX_CACHED_STATEMENT_LENGTH, (
        f"The longest statement has {longest} bytes, psycopg keeps {MAX_CACHED_STATEMENT_LENGTH}. Every member of a "
        "resource adds some: make the text shorter that query/views.py and query/statements.py write for each column."
    )


def test_every_list_is_ordered_by_its_sort_and_then_by_id_in_the_same_direction(
    lists: Mapping[str, Listing],
) -> None:
    """On few rows an index hides a missing id: PostgreSQL walks it, and the id is its last column."""
    for name, listing in lists.items():
        for sent in pages(name, listing):
            assert sent.shape is not None
            table, key = listing._table.name, sent.shape.sort.removeprefix("-")
            direction = " DESC" if sent.shape.sort.startswith("-") else ""
            # Rows that are found before they are sorted have the same columns.
            orders = [f"ORDER BY {it}.{key}{direction}, {it}.id{direction}) AS" for it in (table, "found")]
            # Another table's index finds the rows, and has the same two columns.
            through = f"ORDER BY wanted.value{direction}, wanted.id{direction}) AS"
            text = re.sub(r"\s+LIMIT \d+\)", ")", sent.statement.text.decode())
            assert any(it in text for it in orders) or (through in text and key == "placed_at"), sent
