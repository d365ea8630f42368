"""Ids, texts, amounts and times are those of PostgreSQL, and so is the order of the rows."""

from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import column, func, select, table

from eventlog.events import OrderItem, OrderPlaced, ProductAdded, UserRegistered
from eventlog.ids import new_id
from projector.projections.sales import SALES
from projector.projections.shop import SHOP
from projector.reports import SCHEMA
from readmodel.base import Report, reports_of
from readmodel.sales import daily_sales
from readmodel.shop import orders, products, users
from service.projections import PROJECTIONS
from tests.builders import Writing, append_events, new_event
from tests.projecting import sweep
from tests.projector.mirror.mirroring import catch_up, differences, reading, rebuild, rows

# Alike to a person or to a collation, and not to the log.
SKUS = ["Abc", "Abc ", "abc", "ABC", "\u00e4", "a\u0308", "\u00df", "ss", "\U0001f600", "%s", "'\"\\", "null", "\ufffd"]
SKUS += ["]\n[", "\t\r\b", "\f", "\x01", "\\u0041"]
PRICES = ["0.01", "0.10", "2.50", "2.125", "0.0001", "999999999999.9999"]
TIMES = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, tzinfo=UTC),  # summer time begins in some zones
    datetime(2026, 10, 25, 0, 59, 59, 999999, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 100000, tzinfo=UTC),
]


def fill(database_url: str) -> None:
    """Every SKU is bought at every price, at one of the times."""
    buyer = new_id()
    events = [
        new_event(f"user-{buyer}", 1, UserRegistered("Ad\u00e9 \U0001f600", "a@example.org", "a@example.org", None))
    ]
    for number, sku in enumerate(SKUS):
        product, at = new_id(), TIMES[number % len(TIMES)]
        events.append(new_event(f"product-{product}", 1, ProductAdded(sku, sku, PRICES[0], "EUR", False), at))
        for price in PRICES:
            # One product under two SKUs that differ in a space: two rows of the day's sales.
            items = tuple(
                OrderItem(line, product, it, sku, 1, price, price) for line, it in enumerate((sku, f"{sku} "), 1)
            )
            total = str(2 * Decimal(price))
            events.append(new_event(f"order-{new_id()}", 1, OrderPlaced(buyer, sku, "EUR", total, sku, items), at))
    append_events(database_url, events)


def test_every_value_is_that_of_postgresql(database_url: str, target_url: str) -> None:
    fill(database_url)
    sweep(database_url)
    catch_up(database_url, target_url)
    for projection in PROJECTIONS:
        for it in projection.plain_tables:
            assert rows(target_url, it) == rows(database_url, it), it.name
    assert not differences(database_url, target_url)


def shown(url: str, view: Report) -> list[tuple[object, ...]]:
    """What a view for reports shows, with the types of the read model."""
    engine = reading(url)
    schema = SCHEMA if engine.dialect.name == "postgresql" else None
    columns = [column(str(it.name), it.type) for it in view.rows.selected_columns]
    with engine.connect() as connection:
        found = connection.execute(select(table(view.name, *columns, schema=schema)).order_by(*columns[:2])).all()
    engine.dispose()
    return [tuple(row) for row in found]


def test_report_views_of_a_mirror_equal_those_of_postgresql(
    writing: Writing, database_url: str, target_url: str
) -> None:
    writing.history()
    sweep(database_url)
    catch_up(database_url, target_url, [SHOP, SALES])
    rebuild(database_url, target_url, SHOP)
    views = [view for it in (SHOP, SALES) for view in reports_of(it.metadata)]
    assert {view.name for view in views} == {"order_lines", "revenue_by_day"}
    for view in views:
        assert len(shown(database_url, view)) > 0
        assert shown(target_url, view) == shown(database_url, view), view.name


def test_rows_come_in_the_order_that_they_have_in_postgresql(database_url: str, target_url: str) -> None:
    fill(database_url)
    sweep(database_url)
    catch_up(database_url, target_url)
    by = {
        "sku": select(products.c.sku).order_by(products.c.sku, products.c.id),
        "total": select(orders.c.total).order_by(orders.c.total, orders.c.id),
        "time": select(orders.c.placed_at).order_by(orders.c.placed_at.desc(), orders.c.id),
        "id": select(orders.c.id).order_by(orders.c.id.desc()),
        "sums": select(daily_sales.c.sku, func.sum(daily_sales.c.gross)).group_by(daily_sales.c.sku).order_by("sku"),
        "found": select(products.c.id).where(products.c.sku == "Abc"),
        "cheap": select(func.count()).where(orders.c.total < Decimal("0.03"), orders.c.placed_at > TIMES[1]),
        "buyers": select(users.c.name, func.sum(orders.c.total)).join_from(users, orders).group_by(users.c.name),
    }
    found = {}
    for url in (database_url, target_url):
        engine = reading(url)
        with engine.connect() as connection:
            found[url] = {name: connection.execute(query).all() for name, query in by.items()}
        engine.dispose()
    assert found[target_url] == found[database_url]
    assert len(found[target_url]["sums"]) == len({*SKUS, *(f"{sku} " for sku in SKUS)})
    assert len(found[target_url]["found"]) == 1
