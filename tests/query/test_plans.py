"""Every documented filter and sort is served by an index: PostgreSQL's own plans, on a hundred thousand orders."""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
import pytest

from query.database import SOLID_STATE, Reads
from query.listing import Listing, Shape
from tests.query.statements import Sent, listings, lookups, pages

USERS, PRODUCTS, ORDERS = 5_000, 20_000, 100_000
# Tables of a few rows. A statement looks into `parked` only when the checkpoint says that it has some.
SMALL = {"checkpoint", "parked"}
PAGE = 101  # the longest page, and the row behind it
# Where no index has filter and sort together, PostgreSQL either walks the sort's index until the page is full or
# fetches and sorts what the filter leaves. For k matches among n orders the better of both reads min(k, PAGE * n / k)
# orders, which is sqrt(PAGE * n) at worst; its guesses are allowed four times that.
WITHIN_REACH = 4 * math.isqrt(PAGE * ORDERS)

# Popularity falls off steeply: user 0 has 1/17 of the orders, product 0 1/27 of the lines, others none or few.
GENERATED = f"""
INSERT INTO shop.users
    (id, external_id, name, email, email_key, version, created_at, updated_at, deleted_at)
SELECT md5('u' || i)::uuid, 'crm-' || i, 'User ' || i, 'user' || i || '@example.org', 'user' || i || '@example.org', 1,
       timestamptz '2026-01-01Z' + i * interval '1 min', now(), CASE WHEN i % 50 = 7 THEN now() END
FROM generate_series(0, {USERS - 1}) i;
INSERT INTO shop.products
    (id, sku, name, price, currency, stock, discontinued, version, created_at, updated_at)
SELECT md5('p' || i)::uuid, 'SKU-' || md5(i::text), 'Product ' || md5(i::text), i % 10007 / 100.0, 'EUR',
       CASE WHEN i % 7 = 0 THEN NULL WHEN i % 20 = 0 THEN 0 ELSE i END, i % 30 = 0, 1, now(), now()
FROM generate_series(0, {PRODUCTS - 1}) i;
INSERT INTO shop.orders
    (id, external_id, user_id, status, currency, total, cancelled_total, placed_at, line_count, version, updated_at)
SELECT md5('o' || i)::uuid, 'web-' || i, md5('u' || floor({USERS} * random() ^ 3))::uuid,
       CASE WHEN i % 25 = 0 THEN 'cancelled' WHEN i % 100 = 1 THEN 'partially_cancelled' ELSE 'placed' END, 'EUR',
       round((random() * 1000)::numeric, 2), 0,
       timestamptz '2026-01-01Z' + i * interval '1 min', 2, 1, now()
FROM generate_series(0, {ORDERS - 1}) i;
INSERT INTO shop.order_items
    (order_id, line, product_id, sku, name, quantity, cancelled_quantity, unit_price, amount, placed_at)
SELECT md5('o' || i)::uuid, line, md5('p' || floor({PRODUCTS} * random() ^ 3))::uuid, 'SKU', 'Product',
       1, 0, 2.50, 2.50, timestamptz '2026-01-01Z' + i * interval '1 min'
FROM generate_series(0, {ORDERS - 1}) i, generate_series(1, 2) line;
"""

# One value of each kind: frequent and rare, at the start and in the middle.
VALUES: Mapping[str, Mapping[str, object]] = {
    "users": {
        "email": "user77@example.org",
        "external_id": "crm-77",
        "start": "2026-01-02T00:00:00Z",
    },
    "products": {
        "sku": "SKU-cfcd208495d565ef66e7dff9f98764da",
        **dict.fromkeys(("price__gte", "price__gt"), "50"),
        **dict.fromkeys(("price__lte", "price__lt"), "60"),
    },
    "orders": {
        "external_id": "web-77777",
        **dict.fromkeys(("placed_at__gte", "placed_at__gt"), "2026-02-01T00:00:00Z"),
        **dict.fromkeys(("placed_at__lte", "placed_at__lt"), "2026-02-20T00:00:00Z"),
        **dict.fromkeys(("total__gte", "total__gt"), "300"),
        **dict.fromkeys(("total__lte", "total__lt"), "700"),
    },
}
STARTS = {
    "created_at": "2026-01-02T00:00:00Z",
    "placed_at": "2026-02-10T00:00:00Z",
    "total": "500",
    "price": "55",
    "sku": "SKU-8",
    "name": "Product 8",
}


class Plan(NamedTuple):
    """What a plan did: the tables it scanned from end to end, the rows it read and those it sorted."""

    scanned: set[str]
    read: int
    sorted: int


def plan_of(found: Mapping[str, Any]) -> Plan:
    nodes = list(nodes_of(found))
    loops = [(node, node["Actual Loops"]) for node in nodes]
    return Plan(
        {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"} - SMALL,
        round(
            sum(
                (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * times
                for node, times in loops
                if "Relation Name" in node and node["Relation Name"] != "order_items"
            )
        ),
        # Lines are sorted within their order; that is not meant.
        round(max((node["Actual Rows"] for node in nodes if not is_of_lines(node.get("Sort Key"))), default=0)),
    )


def is_of_lines(key: Sequence[str] | None) -> bool:
    return key is None or any(part.endswith("line") for part in key)


def nodes_of(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The node and all below it, without those that find the newest version of the checkpoint."""
    yield node
    for child in node.get("Plans", ()):
        below = list(nodes_of(child))
        if child["Node Type"] != "Limit" or {it.get("Relation Name", "checkpoint") for it in below} != {"checkpoint"}:
            yield from below


@pytest.fixture(scope="module")
def database(module_database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute(GENERATED.encode())
        # Of all rows, not of a sample: the plans must be the same in every run.
        connection.execute("SET default_statistics_target = 1000")
        connection.execute("VACUUM ANALYZE")
        for name, value in SOLID_STATE.items():
            connection.execute(f"SET {name} = {value}".encode())
        yield connection


@pytest.fixture(scope="module")
def lists(module_database_url: str) -> Mapping[str, Listing]:
    return listings(Reads(module_database_url))


def md5_id(text: str) -> str:
    digits = hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - as GENERATED makes ids
    return re.sub(r"(.{8})(.{4})(.{4})(.{4})(.{12})", r"\1-\2-\3-\4-\5", digits)


def explain(database: psycopg.Connection, sent: Sent, **values: object) -> Plan:
    assert sent.shape is not None
    name = "orders" if "orders" in sent.source else sent.source
    start = {"start": STARTS[sent.shape.sort.removeprefix("-")], "start_id": md5_id("x"), "limit": 100}
    sql = sent.with_values({**VALUES[name], **start, **values})
    cursor = database.execute(b"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + sql)
    ((found,),) = cursor.fetchall()
    return plan_of(found[0]["Plan"])


def generic_plan(database: psycopg.Connection, sent: Sent) -> Mapping[str, Any]:
    """The plan that PostgreSQL keeps for a prepared statement, whatever the values."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)b", sent.statement.text.decode())))
    sql = sent.statement.text.decode().replace("%%", "%")
    for number, name in enumerate(names, 1):
        sql = sql.replace(f"%({name})b", f"${number}")
    ((found,),) = database.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {sql}".encode()).fetchall()
    return dict(found[0]["Plan"])


def with_filter(shape: Shape | None, *names: str) -> bool:
    return shape is not None and any(name.partition("__")[0] in names for name, _ in shape.filters)


@pytest.mark.parametrize("name", ["users", "products", "orders", "a user's orders"])
def test_prepared_statements_walk_an_index_in_order_for_all_values(
    database: psycopg.Connection, lists: Mapping[str, Listing], name: str
) -> None:
    prepared = [sent for sent in pages(name, lists[name]) if sent.statement.prepared]
    assert prepared
    for sent in prepared:
        nodes = list(nodes_of(generic_plan(database, sent)))
        scanned = [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"]
        assert set(scanned) <= SMALL, sent
        # Even without knowing the limit it expects no more than the longest page, not a tenth of the table.
        assert min(node["Plan Rows"] for node in nodes if node["Node Type"] == "Limit") <= PAGE, sent
        # Lines are sorted within an order; nothing else is.
        assert all("line" in key for node in nodes for key in node.get("Sort Key", ())), sent


@pytest.mark.parametrize("name", ["users", "products", "orders"])
def test_no_filter_and_no_sort_scans_a_table_or_sorts_more_than_a_page(
    database: psycopg.Connection, lists: Mapping[str, Listing], name: str
) -> None:
    checked = 0
    for sent in pages(name, lists[name]):
        # These are justified in readmodel/shop.py, and bounded by the tests below.
        if with_filter(sent.shape, "user_id", "product_id", "in_stock", "discontinued", "placed_at", "total", "price"):
            continue
        plan = explain(database, sent)
        assert plan.scanned == set(), sent
        assert plan.sorted <= PAGE, sent
        assert plan.read <= 2 * PAGE, sent
        checked += 1
    assert checked >= 12


@pytest.mark.parametrize("column", ["placed_at", "total"])
def test_a_range_of_the_column_that_is_sorted_by_reads_its_page_only(
    database: psycopg.Connection, lists: Mapping[str, Listing], column: str
) -> None:
    for sent in pages("orders", lists["orders"]):
        if with_filter(sent.shape, column) and sent.shape and sent.shape.sort.endswith(column):
            plan = explain(database, sent)
            assert plan.scanned == set(), sent
            assert plan.sorted <= PAGE, sent
            assert plan.read <= 2 * PAGE, sent


@pytest.mark.parametrize("user", [0, 1, 2, 100, 4_000], ids=lambda user: f"user {user}")
@pytest.mark.parametrize("name", ["orders", "a user's orders"])
def test_a_users_orders_in_time_are_one_page_and_by_total_they_are_within_reach(
    database: psycopg.Connection, lists: Mapping[str, Listing], user: int, name: str
) -> None:
    id_ = md5_id(f"u{user}")
    for sort in ("placed_at", "-placed_at", "total", "-total"):
        shape = Shape((("user_id", None),), sort, False)
        plan = explain(database, Sent(name, shape, lists[name]._statement(shape)), user_id=id_)
        assert plan.scanned == set(), sort
        if "placed_at" in sort:
            # Who has few orders may have them fetched and sorted.
            assert plan.read <= 2 * PAGE
            assert plan.sorted <= PAGE
        else:
            assert plan.read <= WITHIN_REACH, plan


@pytest.mark.parametrize("product", [0, 1, 10, 1_000, 15_000], ids=lambda product: f"product {product}")
def test_a_products_orders_are_within_reach_whether_it_is_popular_or_not(
    database: psycopg.Connection, lists: Mapping[str, Listing], product: int
) -> None:
    id_ = md5_id(f"p{product}")
    for sort in ("placed_at", "-placed_at", "total", "-total"):
        shape = Shape((("product_id", None),), sort, False)
        plan = explain(database, Sent("orders", shape, lists["orders"]._statement(shape)), product_id=id_)
        assert plan.scanned == set(), sort
        assert plan.read <= (2 * PAGE if sort.endswith("placed_at") else WITHIN_REACH), (sort, plan)


def test_of_a_products_orders_by_total_only_those_of_the_time_asked_for_are_read(
    database: psycopg.Connection, lists: Mapping[str, Listing]
) -> None:
    id_, since = md5_id("p0"), "2026-03-01T00:00:00Z"
    wanted = "SELECT count(DISTINCT order_id) FROM shop.order_items WHERE product_id = %s AND placed_at >= %s"
    ((number,),) = database.execute(wanted, (id_, since)).fetchall()
    assert number > PAGE
    for sort in ("total", "-total"):
        shape = Shape((("product_id", None), ("placed_at__gte", None)), sort, False)
        sent = Sent("orders", shape, lists["orders"]._statement(shape))
        plan = explain(database, sent, product_id=id_, placed_at__gte=since)
        assert plan.scanned == set()
        assert plan.read <= number + PAGE, (number, plan)


def test_a_filter_beside_another_sort_stays_within_reach(
    database: psycopg.Connection, lists: Mapping[str, Listing]
) -> None:
    for column, other in (("placed_at", "total"), ("total", "placed_at")):
        for sent in pages("orders", lists["orders"]):
            if with_filter(sent.shape, column) and sent.shape and sent.shape.sort.endswith(other):
                plan = explain(database, sent)
                assert plan.scanned == set(), sent
                assert plan.read <= WITHIN_REACH, (sent, plan)


def test_a_catalogue_is_walked_at_most_once(database: psycopg.Connection, lists: Mapping[str, Listing]) -> None:
    for sent in pages("products", lists["products"]):
        plan = explain(database, sent)
        assert plan.read <= PRODUCTS, sent
        if not with_filter(sent.shape, "in_stock", "discontinued", "price"):
            assert plan.read <= 2 * PAGE, sent


def test_discontinued_products_are_found_by_an_index_even_if_rare(
    database: psycopg.Connection, lists: Mapping[str, Listing]
) -> None:
    shape = Shape((("discontinued", True),), "sku", False)
    plan = explain(database, Sent("products", shape, lists["products"]._statement(shape)))
    assert plan.read <= 2 * PAGE


def test_single_resources_are_looked_up_by_their_key(database: psycopg.Connection, module_database_url: str) -> None:
    for sent in lookups(Reads(module_database_url)):
        sql = sent.with_values({"ids": "{" + ",".join(md5_id(f"{sent.source[0]}{n}") for n in range(20)) + "}"})
        ((found,),) = database.execute(b"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + sql).fetchall()
        plan = plan_of(found[0]["Plan"])
        assert (plan.scanned, plan.sorted) == (set(), 0), sent
        assert plan.read <= 40


# The first 7,200 orders are the cheapest, all of one user and one product: at the far end of both sorts.
AT_THE_END = f"""
UPDATE shop.orders SET total = 0.01, user_id = md5('u1')::uuid WHERE placed_at < timestamptz '2026-01-06Z';
UPDATE shop.order_items SET product_id = md5('p{PRODUCTS - 1}')::uuid
WHERE line = 1 AND placed_at < timestamptz '2026-01-06Z';
ANALYZE shop.orders, shop.order_items;
"""


def test_orders_at_the_far_end_of_a_sort_are_within_reach(
    database: psycopg.Connection, lists: Mapping[str, Listing]
) -> None:
    ids = {"user_id": md5_id("u1"), "product_id": md5_id(f"p{PRODUCTS - 1}")}
    chosen: list[tuple[tuple[str, object], ...]] = [
        (("user_id", None),),
        (("product_id", None),),
        (("user_id", None), ("status", "placed")),
        (("product_id", None), ("status", "placed")),
        (("product_id", None), ("user_id", None)),
        (("product_id", None), ("total__lt", None)),
        (("product_id", None), ("status", "placed"), ("placed_at__lt", None)),
    ]
    with database.transaction(force_rollback=True):
        database.execute(AT_THE_END.encode())
        for filters in chosen:
            for sort in ("placed_at", "-placed_at", "total", "-total"):
                sent = Sent(
                    "orders", Shape(filters, sort, False), lists["orders"]._statement(Shape(filters, sort, False))
                )
                plan = explain(database, sent, **ids)
                assert plan.read <= WITHIN_REACH, (filters, sort, plan)
