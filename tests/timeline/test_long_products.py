"""A product with very many events is answered from a few of them, found by key, whatever moment is asked for."""

import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from eventlog.events import ProductAdded, ProductEvent, StockAdjusted, StockReleased, StockReserved
from eventlog.tables import PRODUCT_DETAILS
from query.database import Reads, Statement
from timeline.reading import NOW, AsOf, Timeline, Version, When

pytestmark = pytest.mark.anyio

STREAM = "product-0197c1c2-7d8e-7000-8000-000000000001"
LENGTH = 60_000
RENAMED, REPRICED = (3, 40_000), (17, 20_000)
# A page of PostgreSQL has 8 KiB. A whole fold reads about 2,000 of this stream.
PAGES_READ_MAX = 250

FILL = """
WITH filled AS (
    INSERT INTO log.events (position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata)
    SELECT n, %(stream)s, n, kind, 1, at, at, data::json, '{}'
    FROM generate_series(1, %(length)s) AS n, LATERAL (
        SELECT now() - interval '1 day' + n * interval '1 ms' AS at,
            CASE WHEN n = 1 THEN 'ProductAdded' WHEN n = ANY (%(renamed)s) THEN 'ProductChanged'
                WHEN n = ANY (%(repriced)s) THEN 'ProductRepriced' ELSE 'StockAdjusted' END AS kind,
            CASE WHEN n = 1
                THEN '{"sku":"long","name":"Long","price":"1.00","currency":"EUR","stock_kept":true}'
                WHEN n = ANY (%(renamed)s) THEN '{"name":"Name ' || n || '"}'
                WHEN n = ANY (%(repriced)s) THEN '{"price":"' || n || '.00"}'
                ELSE '{"delta":1,"reason":"delivery","stock_after":' || n || '}' END AS data
    ) AS event RETURNING position
)
UPDATE log.head SET position = %(length)s
"""


# What ANALYZE had found when nearly every stream had one event.
OLD_STATISTICS = """
SELECT pg_restore_attribute_stats('schemaname', 'log', 'relname', 'events', 'attname', name, 'inherited', false,
    'null_frac', 0::real, 'avg_width', width, 'n_distinct', distinct_values::real,
    'most_common_vals', common, 'most_common_freqs', CASE WHEN common IS NOT NULL THEN '{0.999}'::real[] END)
FROM (VALUES ('stream', 45, -1, NULL), ('type', 14, 8, '{OrderPlaced}'), ('version', 4, 2, '{1}'))
    AS found (name, width, distinct_values, common)
"""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def filled(module_database_url: str) -> str:
    """A database with the product. It has no statistics, as after a restore, and autovacuum gathers none."""
    parameters = {"stream": STREAM, "length": LENGTH, "renamed": list(RENAMED), "repriced": list(REPRICED)}
    with psycopg.connect(module_database_url) as connection:
        connection.execute("ALTER TABLE log.events SET (autovacuum_enabled = false)")
        connection.execute(FILL.encode(), parameters)
    return module_database_url


@pytest.fixture
async def reads(anyio_backend: str, filled: str) -> AsyncIterator[Reads]:
    async with Reads(filled) as reads:
        yield reads


class Counting:
    """Runs selects twice: for their rows, and for the number of pages that PostgreSQL reads."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self.pages_read = 0

    async def rows(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        explain = Statement(
            b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF, FORMAT JSON) " + statement.text, False
        )
        ((plan,),) = await self._reads.rows(explain, parameters)
        shown = json.loads(plan)[0]["Plan"]
        self.pages_read += shown["Shared Hit Blocks"] + shown["Shared Read Blocks"]
        return await self._reads.rows(statement, parameters)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 17, 18, 19_999, 20_000, 20_001, 39_999, 40_000, 59_999, LENGTH])
async def test_any_version_is_read_from_a_few_pages(reads: Reads, number: int) -> None:
    counting = Counting(reads)
    past = await Timeline(counting).at(STREAM, Version(number))
    assert counting.pages_read < PAGES_READ_MAX
    last = {
        kind: max([at for at in versions if at <= number], default=None)
        for kind, versions in (("name", RENAMED), ("price", REPRICED))
    }
    view = past.view()
    assert view["name"] == (f"Name {last['name']}" if last["name"] else "Long")
    assert view["price"] == (f"{last['price']}.00" if last["price"] else "1.00")
    set_by = {field.name: field.event.version for field in past.fields()}
    stocked = max(at for at in range(1, number + 1) if at == 1 or at not in RENAMED + REPRICED)
    assert (set_by["stock"], set_by["version"]) == (stocked, number)
    assert (set_by["name"], set_by["price"]) == (last["name"] or 1, last["price"] or 1)
    assert view["stock"] == (stocked if stocked > 1 else 0)


async def test_any_time_and_the_present_are_found_by_a_few_probes(reads: Reads, filled: str) -> None:
    chance = random.Random(3)  # noqa: S311 - no secret
    with psycopg.connect(filled) as connection:
        times = "SELECT version, recorded_at FROM log.events WHERE version = ANY (%s)"
        some = [chance.randint(1, LENGTH) for _ in range(10)]
        found: list[tuple[int, datetime]] = connection.execute(times, [some]).fetchall()
    for number, time in found:
        counting = Counting(reads)
        timeline = Timeline(counting)
        assert (await timeline.at(STREAM, AsOf(time))).version == number
        assert await timeline.position_at(time) == number
        assert counting.pages_read < 2 * PAGES_READ_MAX
    counting = Counting(reads)
    assert (await Timeline(counting).at(STREAM, NOW)).version == LENGTH
    assert counting.pages_read < PAGES_READ_MAX


async def test_the_last_page_of_its_history_is_read_without_the_others(reads: Reads) -> None:
    counting = Counting(reads)
    history = await Timeline(counting).history(STREAM, LENGTH - 3, 100)
    assert [step.event.version for step in history.steps] == [LENGTH - 2, LENGTH - 1, LENGTH]
    assert history.steps[0].changes == [("stock", LENGTH - 3, LENGTH - 2)]
    assert counting.pages_read < 2 * PAGES_READ_MAX


@pytest.mark.parametrize("when", [NOW, Version(30_000), AsOf(datetime.max.replace(tzinfo=UTC))])
async def test_statistics_of_short_streams_make_no_difference(reads: Reads, filled: str, when: When) -> None:
    with psycopg.connect(filled) as connection:
        connection.execute(OLD_STATISTICS)
        connection.execute("UPDATE pg_class SET reltuples = 10000 WHERE oid = 'log.events'::regclass")
    counting = Counting(reads)
    await Timeline(counting).at(STREAM, when)
    assert counting.pages_read < 2 * PAGES_READ_MAX


def test_every_event_of_a_product_is_an_event_of_its_stock_or_in_the_index_of_its_details() -> None:
    kinds = {cls.__name__ for cls in ProductEvent.__args__}
    stock = {cls.__name__ for cls in (StockAdjusted, StockReserved, StockReleased)}
    assert kinds == {ProductAdded.__name__, *stock, *PRODUCT_DETAILS}
