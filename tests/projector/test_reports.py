"""The views for reports: what they show, and that they survive a rebuild with their comments and privileges."""

from decimal import Decimal

import psycopg
from psycopg import Connection

from projector.replay import replay
from projector.reports import make_missing_views
from service.projections import PROJECTIONS
from tests.builders import Writing
from tests.projecting import sweep

VIEWS = ("order_lines", "revenue_by_day")
COMMENTS = """
SELECT relname, obj_description(oid, 'pg_class'), relacl::text FROM pg_class
WHERE relnamespace = 'reports'::regnamespace ORDER BY 1
"""


def test_the_lines_of_orders_have_names(writing: Writing, database_url: str, other: Connection) -> None:
    user = writing.user(name="Ada")
    tea = writing.product(sku="TEA", price=Decimal("2.50"))
    order = writing.order(user, {tea: 3})
    writing.cancel(order, {1: 1})
    sweep(database_url)
    found = other.execute(
        "SELECT user_name, sku, status, quantity, cancelled_quantity, amount, net_amount FROM reports.order_lines"
    ).fetchall()
    assert found == [("Ada", "TEA", "partially_cancelled", 3, 1, Decimal("7.50"), Decimal("5.00"))]


def test_the_revenue_of_days_is_that_of_the_orders(writing: Writing, database_url: str, other: Connection) -> None:
    writing.history()
    sweep(database_url)
    of_days = "SELECT sum(orders), sum(quantity), sum(gross), sum(cancelled), sum(net) FROM reports.revenue_by_day"
    of_lines = """
        SELECT count(DISTINCT order_id), sum(quantity), sum(amount), sum(amount - net_amount), sum(net_amount)
        FROM reports.order_lines
    """
    found = other.execute(of_days).fetchone()
    assert found == other.execute(of_lines).fetchone()
    assert found is not None
    assert found[3] > 0, "something was cancelled"


def test_sums_of_pieces_do_not_overflow(writing: Writing, database_url: str, other: Connection) -> None:
    user = writing.user()
    tea = writing.product(price=Decimal(1), stock=None)
    for _ in range(2):
        writing.cancel(writing.order(user, {tea: 2**31 - 1}), {1: 2**31 - 1})
    sweep(database_url)
    of_days = "SELECT sum(quantity), sum(cancelled_quantity) FROM reports.revenue_by_day"
    of_lines = "SELECT sum(quantity), sum(cancelled_quantity) FROM reports.order_lines"
    for statement in (of_days, of_lines):
        assert other.execute(statement).fetchone() == (2**32 - 2, 2**32 - 2)


def test_a_rebuild_keeps_the_views(writing: Writing, database_url: str, other: Connection) -> None:
    writing.history()
    sweep(database_url)
    other.execute("GRANT SELECT ON reports.order_lines TO PUBLIC")
    lines = other.execute("SELECT * FROM reports.order_lines ORDER BY order_id, line").fetchall()
    days = other.execute("SELECT * FROM reports.revenue_by_day ORDER BY day, currency").fetchall()
    told = other.execute(COMMENTS).fetchall()
    assert [name for name, comment, _ in told if comment] == list(VIEWS)
    for projection in PROJECTIONS:
        replay(database_url, projection, lambda _: None)
    assert other.execute("SELECT * FROM reports.order_lines ORDER BY order_id, line").fetchall() == lines
    assert other.execute("SELECT * FROM reports.revenue_by_day ORDER BY day, currency").fetchall() == days
    assert other.execute(COMMENTS).fetchall() == told
    writing.history(2)
    sweep(database_url)
    (number,) = other.execute("SELECT count(*) FROM reports.order_lines").fetchone() or (0,)
    assert number > len(lines), "they show the new tables"


def test_a_view_that_is_missing_is_made_and_others_are_left_alone(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP VIEW reports.order_lines, reports.revenue_by_day")
        connection.execute("CREATE TABLE reports.revenue_by_day (mine int)")
        for projection in (*PROJECTIONS, *PROJECTIONS):
            make_missing_views(connection, projection)
        assert connection.execute("SELECT * FROM reports.order_lines").fetchall() == []
        assert connection.execute("SELECT mine FROM reports.revenue_by_day").fetchall() == []
