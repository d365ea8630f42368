"""An event that cannot be projected parks its stream; all others go on, and what was held back comes in order."""

import time
from dataclasses import replace

import psycopg
import pytest
from psycopg import Connection

from command.ids import new_id
from eventlog.append import NewEvent
from eventlog.codec import encode
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
from projector.loop import Loop
from projector.parked import NotParked, groups, held_back, retry, skip
from projector.projection import Projection
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.verify import verify
from tests.builders import Writing, append_events, new_event
from tests.projector.read_tables import contents, position, rows

ALL = 10_000


def project(connection: Connection, limit: int = ALL, projection: Projection = SHOP) -> None:
    projecting = Loop(projection)
    while projecting.project(connection, limit).events:
        pass


def parked(connection: Connection) -> dict[str, tuple[int, str]]:
    """Of each parked stream, the first version that is missing, and why."""
    return {it.parked.stream: (it.parked.version, it.parked.error) for it in held_back(connection, SHOP)}


def mend(connection: Connection, stream: str, version: int, event: object) -> None:
    """Do to the log what only a superuser can, and what a new release does by reading it otherwise."""
    connection.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
    connection.execute(
        "UPDATE log.events SET data = %s, type = %s, schema_version = 1 WHERE stream = %s AND version = %s",
        (encode(event).decode(), type(event).__name__, stream, version),
    )
    connection.execute("ALTER TABLE log.events ENABLE ALWAYS TRIGGER refuse_rewriting")


def user(number: int) -> UserRegistered:
    return UserRegistered(f"User {number}", f"user{number}@example.org", f"user{number}@example.org", None)


def broken(event: NewEvent, how: str) -> NewEvent:
    """The event as no release can read it."""
    match how:
        case "unknown type":
            return event._replace(type="UserTeleported")
        case "unknown version":
            return event._replace(schema_version=9)
        case "of another shape":
            return event._replace(data=b'{"name": 7, "delta": "x"}')
        case "not an object":
            return event._replace(data=b"17")
        case "half a surrogate pair":
            return event._replace(data=b'{"name": "\\ud800", "email": "ada@example.org", "external_id": null}')
        case "a NUL":
            return event._replace(data=b'{"name": "\\u0000", "email": "ada@example.org", "external_id": null}')
    raise AssertionError(how)


@pytest.fixture
def order(database_url: str) -> dict[str, str]:
    """An order whose user has a first event that cannot be read: streams by kind."""
    buyer, product, placed, another = new_id(), new_id(), new_id(), new_id()
    items = (OrderItem(1, product, "CUP", "Cup", 2, "2.50", "5.00"),)
    append_events(
        database_url,
        [
            broken(new_event(f"user-{buyer}", 1, user(1)), "of another shape"),
            new_event(f"product-{product}", 1, ProductAdded("CUP", "Cup", "2.50", "EUR", False)),
            new_event(f"order-{placed}", 1, OrderPlaced(buyer, None, "EUR", "5.00", None, items)),
            new_event(f"user-{another}", 1, user(2)),
            new_event(f"user-{buyer}", 2, UserChanged("Ada", None)),
            new_event(
                f"order-{placed}",
                2,
                OrderCancelled(
                    buyer, "EUR", None, None, (CancelledLine(1, product, "CUP", 2, "5.00", 2),), "5.00", "5.00"
                ),
            ),
        ],
    )
    return {"user": f"user-{buyer}", "order": f"order-{placed}", "another": f"user-{another}"}


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


def test_what_the_tables_refuse_is_narrowed_down_to_the_one_event(
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


def test_what_depends_on_a_parked_row_parks_behind_it_and_drains_with_it(
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


def test_a_stream_whose_row_is_there_holds_back_nobody_else(
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


def test_a_retry_that_fails_later_keeps_what_it_came_to(database_url: str, connection: Connection) -> None:
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


def test_a_skipped_event_is_left_out_for_good(writing: Writing, database_url: str, connection: Connection) -> None:
    buyer = writing.user()
    append_events(database_url, [broken(new_event(f"user-{buyer}", 2, UserChanged("Ada", None)), "of another shape")])
    append_events(database_url, [new_event(f"user-{buyer}", 3, UserChanged("Bea", None))])
    project(connection)
    event, drained = skip(connection, Loop(SHOP), f"user-{buyer}", "nobody needs it", "me")
    assert (event.version, drained.events, drained.parked) == (2, 2, None)
    assert connection.execute("SELECT name, version FROM shop.users").fetchall() == [("Bea", 3)]
    assert connection.execute("SELECT position, version, reason, skipped_by FROM log.skips").fetchall() == [
        (2, 2, "nobody needs it", "me")
    ]
    assert verify(database_url, SHOP, lambda _: None).differences == []
    replay(database_url, SHOP, lambda _: None)
    assert connection.execute("SELECT name, version FROM shop.users").fetchall() == [("Bea", 3)]
    assert parked(connection) == {}


def test_a_replay_leaves_out_what_was_skipped_though_it_could_take_it_now(
    writing: Writing, database_url: str, connection: Connection
) -> None:
    buyer = writing.user(name="Ada")
    append_events(database_url, [broken(new_event(f"user-{buyer}", 2, UserChanged("Bea", None)), "of another shape")])
    project(connection)
    skip(connection, Loop(SHOP), f"user-{buyer}", "nobody needs it", "me")
    mend(connection, f"user-{buyer}", 2, UserChanged("Bea", None))
    replay(database_url, SHOP, lambda _: None)
    assert connection.execute("SELECT name FROM shop.users").fetchall() == [("Ada",)]
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_without_its_first_event_a_stream_stays_out_and_what_depends_on_it_waits(
    order: dict[str, str], database_url: str, connection: Connection
) -> None:
    project(connection)
    _, drained = skip(connection, Loop(SHOP), order["user"], "a test user", "me")
    assert drained.parked is not None
    assert drained.parked.skipped
    assert list(parked(connection)) == [order["order"]]
    retry(connection, Loop(SHOP))
    assert list(parked(connection)) == [order["order"]]
    with pytest.raises(NotParked):
        skip(connection, Loop(SHOP), order["another"], "not parked at all", "me")
    skip(connection, Loop(SHOP), order["order"], "a test user's", "me")
    assert parked(connection) == {}
    assert verify(database_url, SHOP, lambda _: None).differences == []
    before = contents(connection)
    replay(database_url, SHOP, lambda _: None)
    assert contents(connection) == before


def test_a_skip_is_never_rewritten(order: dict[str, str], connection: Connection) -> None:
    project(connection)
    skip(connection, Loop(SHOP), order["user"], "a test user", "me")
    for statement in ("UPDATE log.skips SET reason = 'x'", "DELETE FROM log.skips", "TRUNCATE log.skips"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"log\.skips is append-only"):
            connection.execute(statement.encode())


def test_a_replay_parks_what_it_cannot_project_and_serves(
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


def test_thousands_of_parked_streams_are_retried_in_sets_and_hold_back_no_other(
    writing: Writing, database_url: str, connection: Connection
) -> None:
    many = 3_000
    for start in range(0, many, 500):
        events = [new_event(f"user-{new_id()}", 1, user(number)) for number in range(start, start + 500)]
        append_events(database_url, [broken(event, "unknown type") for event in events])
    project(connection)
    other = writing.user()
    buyer, product = writing.user(), writing.product()
    writing.order(buyer, {product: 1})
    began = time.monotonic()
    project(connection)
    assert time.monotonic() - began < 1
    assert connection.execute("SELECT count(*) FROM shop.users WHERE id = %s", (other,)).fetchone() == (1,)
    assert [(it.streams, it.type) for it in groups(connection, [SHOP])] == [(many, "UserTeleported")]

    connection.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
    connection.execute("UPDATE log.events SET type = 'UserRegistered' WHERE type = 'UserTeleported'")
    connection.execute("ALTER TABLE log.events ENABLE ALWAYS TRIGGER refuse_rewriting")
    began = time.monotonic()
    outcomes = retry(connection, Loop(SHOP), group=groups(connection, [SHOP])[0])
    assert time.monotonic() - began < 5
    assert (len(outcomes), parked(connection)) == (many, {})
    assert verify(database_url, SHOP, lambda _: None).differences == []


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
