import time

import pytest
from psycopg import Connection

from eventlog import stalled
from eventlog.events import OrderItem, OrderPlaced
from eventlog.ids import new_id
from projector.loop import Loop, Progress
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.shadow import Busy, Shadow
from projector.verify import DIFFERENCES_MAX, Difference, verify
from tests.builders import Writing, append_events, new_event
from tests.projector.read_tables import contents, head, position
from tests.projector.test_loop import ALL
from tests.projector.test_replay import live_projection, schemas


def nobody(_: Progress) -> None:
    """Reports go to nobody."""


@pytest.fixture
def shop(writing: Writing, connection: Connection) -> Writing:
    """A shop with some history, projected."""
    writing.history(orders=30)
    while Loop(SHOP).project(connection, ALL).events:
        pass
    return writing


def one(connection: Connection, statement: str) -> tuple[str, ...]:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row


def test_tables_that_are_right_are_proved_right(shop: Writing, database_url: str, connection: Connection) -> None:
    verdict = verify(database_url, SHOP, nobody)
    assert verdict.differences == []
    assert verdict.position == position(connection) == head(connection)
    assert verdict.rows == {table: len(rows) for table, rows in contents(connection).items()}
    assert schemas(connection) == {"shop"}


def test_every_difference_is_named_and_a_replay_heals_it(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    order, total = one(connection, "SELECT id::text, total::text FROM shop.orders ORDER BY id LIMIT 1")
    product, stock = one(connection, "SELECT id::text, stock FROM shop.products WHERE stock > 9 LIMIT 1")
    (item,) = one(connection, "SELECT to_json(it)::text FROM shop.order_items AS it ORDER BY order_id, line LIMIT 1")
    (extra,) = one(connection, "SELECT gen_random_uuid()::text")
    connection.execute("UPDATE shop.orders SET total = total + 1 WHERE id = %s", (order,))
    connection.execute("UPDATE shop.products SET stock = stock - 1, name = NULLIF(name, '') WHERE id = %s", (product,))
    connection.execute(
        "DELETE FROM shop.order_items WHERE (order_id, line) = "
        "(SELECT order_id, line FROM shop.order_items ORDER BY order_id, line LIMIT 1)"
    )
    connection.execute(
        "INSERT INTO shop.users SELECT %s, external_id, name, email, email_key, version, created_at, updated_at, "
        "deleted_at FROM shop.users LIMIT 1",
        (extra,),
    )

    verdict = verify(database_url, SHOP, nobody)
    assert [(it.table, it.column) for it in verdict.differences] == [
        ("users", None),
        ("products", "stock"),
        ("orders", "total"),
        ("order_items", None),
    ]
    users, products, orders, items = verdict.differences
    assert (users.key, users.should_be) == ({"id": extra}, None)
    assert users.stands["id"] == extra
    assert products == Difference("products", {"id": product}, "stock", int(stock) - 1, int(stock))
    assert (orders.key, orders.should_be) == ({"id": order}, total)
    assert orders.stands != total
    assert items.stands is None
    assert items.should_be["order_id"] in item
    assert items.key == {"order_id": items.should_be["order_id"], "line": 1}

    replay(database_url, SHOP, nobody)
    assert verify(database_url, SHOP, nobody).differences == []


@pytest.mark.parametrize(
    ("change", "column", "stands", "should_be"),
    [
        ("price = '2.500'", "price", "2.500", "2.50"),
        ("sku = ''", "sku", "", "CUP"),
        ("name = 'Cup '", "name", "Cup ", "Cup"),
        ("stock = NULL", "stock", None, 7),
        ("stock = 0", "stock", 0, 7),
        ("discontinued = true", "discontinued", True, False),
    ],
)
def test_a_value_that_looks_the_same_is_another(
    writing: Writing,
    database_url: str,
    connection: Connection,
    change: str,
    column: str,
    stands: object,
    should_be: object,
) -> None:
    product = writing.product(sku="CUP", name="Cup", stock=7)
    Loop(SHOP).project(connection, ALL)
    connection.execute(f"UPDATE shop.products SET {change}".encode())
    assert verify(database_url, SHOP, nobody).differences == [
        Difference("products", {"id": product}, column, stands, should_be)
    ]


def test_a_time_a_microsecond_off_is_a_difference(writing: Writing, database_url: str, connection: Connection) -> None:
    writing.user()
    Loop(SHOP).project(connection, ALL)
    connection.execute("UPDATE shop.users SET created_at = created_at + interval '1 microsecond'")
    assert [it.column for it in verify(database_url, SHOP, nobody).differences] == ["created_at"]


def test_tables_that_are_behind_the_log_are_compared_where_they_are(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    """A stopped worker shows in the position, not as a difference in every row since."""
    at = position(connection)
    shop.history(seed=2)
    verdict = verify(database_url, SHOP, nobody)
    assert (verdict.position, verdict.differences) == (at, [])


def test_tables_that_claim_to_be_further_than_they_are_differ(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    user = shop.user()
    connection.execute("UPDATE shop.checkpoint SET position = position + 1")
    assert [(it.table, it.key, it.stands) for it in verify(database_url, SHOP, nobody).differences] == [
        ("users", {"id": user}, None)
    ]


def test_there_is_no_false_alarm_while_it_all_goes_on(shop: Writing, database_url: str, connection: Connection) -> None:
    with live_projection(database_url), shop.traffic():
        verdicts = [verify(database_url, SHOP, nobody) for _ in range(4)]
    assert [verdict.differences for verdict in verdicts] == [[]] * 4
    positions = [verdict.position for verdict in verdicts]
    assert positions == sorted(set(positions)), "it went on"


def test_the_last_events_may_take_long(
    shop: Writing, database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the large orders that were projected meanwhile do, and so does looking through large tables."""
    park_orphans = Shadow.park_orphans

    def slowly(shadow: Shadow) -> None:
        time.sleep(stalled.SECONDS_MAX + 1)  # longer than PostgreSQL lets a session be idle
        park_orphans(shadow)

    monkeypatch.setattr(Shadow, "park_orphans", slowly)
    assert verify(database_url, SHOP, nobody).differences == []


def test_of_very_many_differences_all_are_counted_and_the_first_are_kept(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    number = DIFFERENCES_MAX + 500
    connection.execute(
        "INSERT INTO shop.users (id, name, email, email_key, version, created_at, updated_at) "
        "SELECT gen_random_uuid(), 'Eve', n::text, n::text, 1, now(), now() FROM generate_series(1, %s) AS n",
        (number,),
    )
    verdict = verify(database_url, SHOP, nobody)
    assert (verdict.found, len(verdict.differences)) == (number, DIFFERENCES_MAX)
    ((recorded,),) = connection.execute("SELECT differences FROM log.verifications").fetchall()
    assert recorded == number


def test_two_at_once_are_refused(shop: Writing, database_url: str) -> None:
    refused: list[object] = []

    def report(_: Progress) -> None:
        for another in (verify, replay):
            with pytest.raises(Busy) as busy:
                another(database_url, SHOP, nobody)
            refused.append(busy.value)

    verify(database_url, SHOP, report)
    assert refused


def test_an_order_without_a_user_placed_during_a_verify_is_no_difference(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    """Foreign keys park it on the live tables; the tables beside them have none."""
    stray = f"order-{new_id()}"
    items = (OrderItem(1, new_id(), "CUP", "Cup", 2, "2.50", "5.00"),)
    reports: list[Progress] = []

    def report(progress: Progress) -> None:
        if not reports:
            append_events(database_url, [new_event(stray, 1, OrderPlaced(new_id(), None, "EUR", "5.00", None, items))])
            Loop(SHOP).project(connection, ALL)
        reports.append(progress)

    verdict = verify(database_url, SHOP, report)
    assert (verdict.parked, verdict.differences) == (1, [])
