"""An event that cannot be projected parks its stream; all others go on, and what was held back comes in order."""

from dataclasses import replace

import pytest
from psycopg import Connection

from eventlog.events import (
    CancelledLine,
    OrderCancelled,
    OrderItem,
    OrderPlaced,
    ProductAdded,
    StockAdjusted,
    UserChanged,
    UserRegistered,
)
from eventlog.ids import new_id
from projector.loop import Loop
from projector.parked import held_back
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.verify import verify
from tests.builders import Writing, append_events, new_event
from tests.projector.parked_streams import ALL, broken, mend, parked, project, retry, user
from tests.projector.read_tables import contents, position, rows


@pytest.mark.parametrize(
    "how", ["unknown type", "unknown version", "of another shape", "not an object", "half a surrogate pair", "a NUL"]
)
@pytest.mark.parametrize("limit", [1, 3, ALL])
def test_an_event_that_cannot_be_projected_parks_its_stream_and_no_other(
    database_url: str, connection: Connection, how: str, limit: int
) -> None:
    streams = [f"user-{new_id()}" for _ in range(5)]
    events = [new_event(stream, 1, user(number)) for number, stream in enumerate(streams)]
    events[2] = broken(events[2], how)
    events += [
        new_event(stream, 2, UserChanged(None, "renamed@example.org", "renamed@example.org")) for stream in streams
    ]
    append_events(database_url, events)

    project(connection, limit)
    assert position(connection) == 10
    assert list(parked(connection)) == [streams[2]]
    assert [held.events for held in held_back(connection, SHOP)] == [2]
    assert connection.execute("SELECT count(*) FROM shop.users WHERE email LIKE 'renamed%%'").fetchone() == (4,)

    mend(connection, streams[2], 1, user(2))
    assert retry(connection, Loop(SHOP), streams[2]) == [(streams[2], 2, None)]
    assert connection.execute("SELECT count(*) FROM shop.users WHERE email LIKE 'renamed%%'").fetchone() == (5,)
    assert connection.execute("SELECT parked FROM shop.checkpoint").fetchone() == (0,)
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_a_batch_that_the_tables_refuse_is_narrowed_down_to_one_event(
    writing: Writing, database_url: str, connection: Connection
) -> None:
    """And reported without the row, which may tell of a person."""
    buyer, product = writing.user(), writing.product()
    placed = [writing.order(buyer, {product: 1}, note="a secret") for _ in range(20)]
    bad = OrderCancelled(
        buyer, "EUR", "a secret", None, (CancelledLine(1, product, "CUP", 1, "2.50", 1),), "2.50", "9.00"
    )
    append_events(database_url, [new_event(f"order-{placed[7]}", 2, bad)])
    placed += [writing.order(buyer, {product: 1}) for _ in range(20)]
    project(connection)
    ((stream, (version, error)),) = parked(connection).items()
    assert (stream, version) == (f"order-{placed[7]}", 2)
    assert "orders_cancelled_total_check" in error
    assert "secret" not in error
    assert len(rows(connection, "orders")) == 40
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_a_fault_in_a_projection_leaves_no_half_of_an_event(
    writing: Writing, database_url: str, connection: Connection
) -> None:
    buyer, product = writing.user(), writing.product()
    good, bad = [writing.order(buyer, {product: 1}, note=note) for note in ("good", "bad")]
    later = writing.order(buyer, {product: 1})
    whole = SHOP.on[OrderPlaced]

    def failing(event: OrderPlaced, of: object, rows: object) -> None:
        whole(event, of, rows)  # type: ignore[arg-type]
        if event.note == "bad":
            raise ZeroDivisionError("by nothing")

    project(connection, projection=replace(SHOP, on={**SHOP.on, OrderPlaced: failing}))
    assert parked(connection) == {f"order-{bad}": (1, "ZeroDivisionError: by nothing")}
    ids = {row[0] for row in connection.execute("SELECT id::text FROM shop.orders").fetchall()}
    assert ids == {good, later}
    retry(connection, Loop(SHOP))
    assert parked(connection) == {}
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_a_dependent_of_a_parked_row_parks_behind_it_and_drains_with_it(
    order: dict[str, str], database_url: str, connection: Connection
) -> None:
    project(connection)
    held = {it.parked.stream: it.parked for it in held_back(connection, SHOP)}
    assert held.keys() == {order["user"], order["order"]}
    assert held[order["order"]].behind == order["user"]
    assert len(rows(connection, "users")) == 1

    mend(connection, order["user"], 1, user(1))
    outcomes = retry(connection, Loop(SHOP), order["user"])
    assert [(it.stream, it.events) for it in outcomes] == [(order["user"], 2), (order["order"], 2)]
    assert connection.execute("SELECT status FROM shop.orders").fetchall() == [("cancelled",)]
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_a_parked_stream_whose_row_exists_parks_no_other_stream(
    writing: Writing, database_url: str, connection: Connection
) -> None:
    buyer, product = writing.user(), writing.product()
    items = (OrderItem(1, product, "CUP", "Cup", 2, "2.50", "5.00"),)
    append_events(
        database_url,
        [
            broken(new_event(f"user-{buyer}", 2, UserChanged("Ada", None)), "of another shape"),
            new_event(f"order-{new_id()}", 1, OrderPlaced(buyer, None, "EUR", "5.00", None, items)),
        ],
    )
    project(connection)
    assert {stream: version for stream, (version, _) in parked(connection).items()} == {f"user-{buyer}": 2}
    assert len(rows(connection, "orders")) == 1


def test_a_retry_that_fails_later_keeps_its_progress(database_url: str, connection: Connection) -> None:
    stream = f"product-{new_id()}"
    events = [new_event(stream, 1, ProductAdded("CUP", "Cup", "2.50", "EUR", True))]
    events += [new_event(stream, version, StockAdjusted(1, "more", version)) for version in range(2, 9)]
    events[0], events[5] = broken(events[0], "of another shape"), broken(events[5], "of another shape")
    append_events(database_url, events)
    project(connection)
    mend(connection, stream, 1, ProductAdded("CUP", "Cup", "2.50", "EUR", True))
    (drained,) = retry(connection, Loop(SHOP))
    assert drained.events == 5
    assert drained.parked is not None
    assert (drained.parked.version, drained.parked.position) == (6, 6)
    assert connection.execute("SELECT stock, version FROM shop.products").fetchone() == (5, 5)
    assert connection.execute("SELECT parked FROM shop.checkpoint").fetchone() == (1,)


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_long_stream_is_drained_page_by_page(database_url: str, connection: Connection, page: int) -> None:
    stream = f"product-{new_id()}"
    added = ProductAdded("CUP", "Cup", "2.50", "EUR", True)
    events = [broken(new_event(stream, 1, added), "of another shape")]
    events += [new_event(stream, version, StockAdjusted(1, "more", version)) for version in range(2, 8)]
    append_events(database_url, events)
    project(connection)
    mend(connection, stream, 1, added)
    (drained,) = retry(connection, Loop(SHOP), events_max=page)
    assert (drained.events, drained.parked) == (7, None)
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_a_replay_parks_events_that_it_cannot_project_and_swaps(
    order: dict[str, str], database_url: str, connection: Connection
) -> None:
    """Orders of nobody, too: the foreign keys that would refuse them come last in a replay."""
    stray = f"order-{new_id()}"
    items = (OrderItem(1, new_id(), "CUP", "Cup", 2, "2.50", "5.00"),)
    append_events(database_url, [new_event(stray, 1, OrderPlaced(new_id(), None, "EUR", "5.00", None, items))])
    project(connection)
    before = contents(connection)
    streams = {order["user"], order["order"], stray}
    assert parked(connection).keys() == streams
    assert verify(database_url, SHOP, lambda _: None).differences == []

    replay(database_url, SHOP, lambda _: None)
    assert parked(connection).keys() == streams
    assert connection.execute("SELECT parked FROM shop.checkpoint").fetchone() == (3,)
    assert contents(connection) == before
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_verify_tells_a_stream_that_is_parked_without_need(
    order: dict[str, str], database_url: str, connection: Connection
) -> None:
    project(connection)
    mend(connection, order["user"], 1, user(1))
    differences = verify(database_url, SHOP, lambda _: None).differences
    assert {(it.table, it.column) for it in differences} >= {("users", None), ("orders", None), ("parked", None)}
    retry(connection, Loop(SHOP))
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_a_change_to_a_row_that_is_not_there_parks_its_stream(
    writing: Writing, database_url: str, connection: Connection
) -> None:
    buyer = writing.user()
    project(connection)
    connection.execute("DELETE FROM shop.users")
    writing.change_user(buyer, "Ada", "ada@example.org")
    other = writing.user()
    project(connection)
    assert list(parked(connection)) == [f"user-{buyer}"]
    assert connection.execute("SELECT id::text FROM shop.users").fetchall() == [(other,)]


def test_many_bad_events_in_a_batch_cost_little_more_than_one(
    writing: Writing, database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(300):
        writing.user()
    attempts = 0

    def failing(*_: object) -> None:
        nonlocal attempts
        attempts += 1
        raise ZeroDivisionError

    project(connection, projection=replace(SHOP, on={**SHOP.on, UserRegistered: failing}))
    assert len(parked(connection)) == 300
    assert attempts <= 2 * 300 + 2


def test_a_loop_notices_that_another_process_has_drained_a_stream(
    order: dict[str, str], database_url: str, connection: Connection, other: Connection
) -> None:
    """A worker keeps the parked streams in memory, while an operator retries them. One stays parked."""
    append_events(database_url, [broken(new_event(f"user-{new_id()}", 1, user(3)), "unknown type")])
    working = Loop(SHOP)
    while working.project(connection, 1).events:
        pass
    mend(connection, order["user"], 1, user(1))
    retry(other, Loop(SHOP))
    append_events(database_url, [new_event(order["user"], 3, UserChanged("Later", None))])
    working.project(connection, ALL)
    assert order["user"] not in parked(connection)
    assert len(parked(connection)) == 1
    assert ("Later",) in connection.execute("SELECT name FROM shop.users").fetchall()
    assert verify(database_url, SHOP, lambda _: None).differences == []
