"""GET /sales, on rows that the tests put into its tables themselves."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import Any

import httpx
import psycopg
import pytest

from query import sales
from query.database import Reads, Statement
from query.paging import cursor_text, tie
from query.sync import Sync
from readmodel.sales import Base
from tests.query.answers import problem
from tests.query.conftest import application, client_of

pytestmark = pytest.mark.anyio

TEA, CUP = "0197c1c2-7d8e-7000-8000-00000000000a", "0197c1c2-7d8e-7000-8000-00000000000b"
DAYS = [date(2026, 11, day) for day in (26, 27, 28)]


@pytest.fixture
async def api(reads: Reads) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(application(sales.router(reads, Sync.of_tables(reads, Base.metadata)))) as client:
        yield client


@pytest.fixture
def sold(database_url: str) -> None:
    """On the 26th an order of tea and a cup, on the 27th one of tea; on the 28th the tea comes back."""
    rows = [
        (DAYS[0], TEA, "TEA", "EUR", 1, 2, "5.00", 0, "0.00"),
        (DAYS[0], CUP, "CUP", "EUR", 1, 1, "4.125", 0, "0.00"),
        (DAYS[1], TEA, "TEA", "EUR", 1, 3, "7.50", 0, "0.00"),
        (DAYS[2], TEA, "TEA", "EUR", 0, 0, "0.00", 3, "7.50"),
    ]
    with psycopg.connect(database_url) as connection:
        connection.cursor().executemany(
            "INSERT INTO sales.daily_sales VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)", rows
        )
        connection.cursor().executemany(
            "INSERT INTO sales.daily_orders VALUES (%s, 'EUR', 1)", [(DAYS[0],), (DAYS[1],)]
        )
        connection.execute("UPDATE sales.checkpoint SET position = 7")


def row(**members: Any) -> dict[str, Any]:
    return {"currency": "EUR", "cancelled_quantity": 0, "cancelled": "0.00"} | members


@pytest.mark.usefixtures("sold")
async def test_sales_by_day_and_product_come_in_order(api: httpx.AsyncClient) -> None:
    answer = await api.get("/sales")
    assert (answer.status_code, answer.headers["sync-token"]) == (200, "7")
    body = answer.json()
    assert body["next"] is None
    assert [(it["day"], it["sku"], it["gross"], it["cancelled"]) for it in body["data"]] == [
        ("2026-11-26", "TEA", "5.00", "0.00"),
        ("2026-11-26", "CUP", "4.125", "0.00"),
        ("2026-11-27", "TEA", "7.50", "0.00"),
        ("2026-11-28", "TEA", "0.00", "7.50"),
    ]
    assert body["data"][0] == row(day="2026-11-26", product_id=TEA, sku="TEA", orders=1, quantity=2, gross="5.00")


@pytest.mark.usefixtures("sold")
async def test_a_group_by_day_counts_an_order_of_two_products_once(api: httpx.AsyncClient) -> None:
    data = (await api.get("/sales?group_by=day")).json()["data"]
    assert data == [
        row(day="2026-11-26", orders=1, quantity=3, gross="9.125"),
        row(day="2026-11-27", orders=1, quantity=3, gross="7.50"),
        row(day="2026-11-28", orders=0, quantity=0, gross="0.00", cancelled_quantity=3, cancelled="7.50"),
    ]


class Counted(Reads):
    """Counts the selects under way."""

    under_way = most = 0

    async def rows(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await super().rows(statement, parameters)
        finally:
            self.under_way -= 1


@pytest.mark.usefixtures("sold")
@pytest.mark.parametrize(("query", "at_once"), [("group_by=product", 1), (f"group_by=day&product_id={TEA}", 4)])
async def test_groups_of_all_products_are_added_up_one_after_another(
    database_url: str, query: str, at_once: int
) -> None:
    """Each reads most of the table: a screen of dashboards would take all processors."""
    async with Counted(database_url) as reads:
        routes = sales.router(reads, Sync.of_tables(reads, Base.metadata))
        async with client_of(application(routes)) as client:
            paths = [f"/sales?{query}&limit={limit}" for limit in (1, 2, 3, 4)]
            answers = await asyncio.gather(*map(client.get, paths))
    assert {it.status_code for it in answers} == {200}
    assert reads.most == at_once


@pytest.mark.usefixtures("sold")
async def test_a_group_by_product_adds_up_over_days(api: httpx.AsyncClient) -> None:
    data = (await api.get("/sales?group_by=product")).json()["data"]
    assert data == [
        row(product_id=TEA, sku="TEA", orders=2, quantity=5, gross="12.50", cancelled_quantity=3, cancelled="7.50"),
        row(product_id=CUP, sku="CUP", orders=1, quantity=1, gross="4.125"),
    ]


@pytest.mark.usefixtures("sold")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("day[gte]=2026-11-27", 2),
        ("day[lt]=2026-11-27", 2),
        ("day[gte]=2026-11-27&day[lt]=2026-11-28", 1),
        (f"product_id={CUP}", 1),
        (f"product_id={TEA}&group_by=day", 3),
        ("currency=EUR", 4),
        ("currency=USD", 0),
    ],
)
async def test_filters(api: httpx.AsyncClient, query: str, found: int) -> None:
    assert len((await api.get(f"/sales?{query}")).json()["data"]) == found


class Recording(Reads):
    """Reads that keep the last statement and its parameters."""

    sent: tuple[Statement, Mapping[str, object]]

    async def rows(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        self.sent = (statement, parameters)
        return await super().rows(statement, parameters)


# A year of 200 products in euros, and one row in francs.
A_YEAR = """
INSERT INTO sales.daily_sales (day, product_id, sku, currency)
SELECT date '2026-01-01' + day, md5('p' || product)::uuid, 'SKU',
       CASE WHEN day = 300 AND product = 7 THEN 'CHF' ELSE 'EUR' END
FROM generate_series(0, 364) AS day, generate_series(0, 199) AS product
"""


@pytest.mark.parametrize("group", ["", "&group_by=day", "&group_by=product"])
@pytest.mark.parametrize(("currency", "found"), [("CHF", 1), ("XXX", 0)])
async def test_a_rare_currency_is_found_without_reading_the_others(
    database_url: str, group: str, currency: str, found: int
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(A_YEAR)
        connection.execute("VACUUM ANALYZE sales.daily_sales")
        async with Recording(database_url) as reads:
            sync = Sync.of_tables(reads, Base.metadata)
            async with client_of(application(sales.router(reads, sync))) as client:
                answer = await client.get(f"/sales?currency={currency}{group}")
            assert len(answer.json()["data"]) == found
            statement, parameters = reads.sent
        plan = "\n".join(line for (line,) in connection.execute(b"EXPLAIN ANALYZE " + statement.text, parameters))
    assert "daily_sales_currency_idx" in plan, plan
    assert "Rows Removed" not in plan, plan


@pytest.mark.usefixtures("sold")
@pytest.mark.parametrize("group", ["", "&group_by=day", "&group_by=product"])
async def test_pages_follow_one_another_without_a_gap(api: httpx.AsyncClient, group: str) -> None:
    whole = (await api.get(f"/sales?limit=100{group}")).json()["data"]
    found, path = [], f"/sales?limit=1{group}"
    for _ in whole:
        answer = await api.get(path)
        found += answer.json()["data"]
        if cursor := answer.json()["next"]:
            assert answer.headers["link"].endswith('rel="next"')
            path = f"/sales?limit=1{group}&cursor={cursor}"
    assert found == whole
    assert cursor is None


async def test_an_empty_list_has_a_token(api: httpx.AsyncClient) -> None:
    answer = await api.get("/sales")
    assert (answer.json(), answer.headers["sync-token"]) == ({"data": [], "next": None}, "0")


@pytest.mark.parametrize(
    "query",
    [
        "day[gte]=2026-13-01",
        "day[gte]=20261128",
        "day[gte]=2026-W48-6",
        "group_by=month",
        "limit=0",
        "sort=day",
        "currency=eur",
    ],
)
async def test_wrong_parameters_are_refused(api: httpx.AsyncClient, query: str) -> None:
    assert problem(await api.get(f"/sales?{query}"))[0] == 400


@pytest.mark.usefixtures("sold")
async def test_a_cursor_of_another_list_is_refused(api: httpx.AsyncClient) -> None:
    cursor = (await api.get("/sales?limit=1")).json()["next"]
    for query in (f"limit=1&group_by=day&cursor={cursor}", "cursor=x", "cursor=WyJ4Il0"):
        assert problem(await api.get(f"/sales?{query}")) == (400, "invalid-cursor")


@pytest.mark.parametrize("values", [("x", TEA, "TEA", "EUR"), ("2026-11-27", "y", "TEA", "EUR"), (), ("\0",) * 4])
async def test_a_cursor_with_values_that_no_row_has_is_refused(api: httpx.AsyncClient, values: tuple[str, ...]) -> None:
    cursor = cursor_text(values, tie("sales", "", {}))
    assert problem(await api.get(f"/sales?cursor={cursor}")) == (400, "invalid-cursor")


async def test_tables_of_another_version_are_not_read(api: httpx.AsyncClient, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sales.checkpoint SET version = 0")
    answer = await api.get("/sales")
    assert problem(answer) == (503, "projection-behind")
    assert "sales" in answer.json()["detail"]
