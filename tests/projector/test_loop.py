import threading
from datetime import timedelta

import psycopg
import pytest
from psycopg import Connection

from eventlog import stalled
from eventlog.events import CancelledLine, OrderCancelled, OrderItem, OrderPlaced, ProductAdded, UserRegistered
from eventlog.ids import new_id
from projector.checkpoint import WORKER, Fenced
from projector.connecting import connect
from projector.loop import Loop, Progress
from projector.paging import BATCH_PAGES_MAX, CHANGED_ROWS_MAX, PageMax
from projector.projection import Projection
from projector.projections.sales import SALES
from projector.projections.shop import SHOP
from projector.shadow import Shadow, building
from projector.writer import PostgresWriter
from tests.builders import LONG_AGO, Writing, append_events, new_event
from tests.projector.read_tables import contents, error, head, position

ALL = 10_000


def project_all(connection: Connection, limit: int = ALL) -> int:
    projecting, events = Loop(SHOP), 0
    while (progress := projecting.project(connection, limit)).events:
        events += progress.events
    return events


def on_moving_the_checkpoint(connection: Connection, do: str) -> None:
    """Let something happen between the rows and the checkpoint of a batch."""
    connection.execute(
        f"CREATE FUNCTION meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {do} END $$;"
        "CREATE TRIGGER meanwhile BEFORE UPDATE ON shop.checkpoint FOR EACH ROW EXECUTE FUNCTION meanwhile()".encode()
    )


def nothing_happens_any_more(connection: Connection) -> None:
    connection.execute("DROP TRIGGER meanwhile ON shop.checkpoint")


def test_batches_of_every_size_come_to_the_same_tables(writing: Writing, connection: Connection) -> None:
    writing.history(orders=12)
    project_all(connection)
    whole = contents(connection)
    assert [len(rows) for rows in whole.values()] == [6, 6, 12, len(whole["order_items"])]
    for limit in (*range(1, 12), 17, 50):
        with Shadow(connection, SHOP, f"batches_of_{limit}") as shadow:
            while shadow.loop.project(connection, limit).events:
                pass
            assert contents(connection, shadow.schema) == whole, f"batches of {limit}"


@pytest.mark.parametrize("page", [1, 2, 7, 30])
def test_a_batch_of_several_pages_gives_the_same_tables(writing: Writing, connection: Connection, page: int) -> None:
    """New rows are written page by page, changed ones at the end of the batch."""
    writing.history(orders=12)
    project_all(connection)
    whole = contents(connection)
    with Shadow(connection, SHOP, "in_pages") as shadow:
        projecting = Loop(SHOP, shadow.schema, page_max=PageMax(events=page))
        while projecting.project(connection, 40).events:
            pass
        assert contents(connection, shadow.schema) == whole


@pytest.mark.parametrize("projection", [SHOP, SALES], ids=["shop", "sales"])
def test_a_batch_ends_when_it_has_changed_many_rows(
    database_url: str, connection: Connection, projection: Projection
) -> None:
    """Changed rows are in memory until the batch is written: an event of 130 kB can change a thousand."""
    lines, orders, a_page = 1_000, 60, 10
    buyer, products = new_id(), [new_id() for _ in range(lines)]
    items = tuple(OrderItem(line, it, "TEA", "Tea", 1, "2.50", "2.50") for line, it in enumerate(products, 1))
    left = tuple(CancelledLine(item.line, item.product_id, item.sku, 1, "2.50", 1) for item in items)
    placed = OrderPlaced(buyer, None, "EUR", "2500.00", None, items)
    cancelled = OrderCancelled(buyer, "EUR", None, None, left, "2500.00", "2500.00")
    streams = [f"order-{new_id()}" for _ in range(orders)]
    append_events(
        database_url,
        [
            new_event(f"user-{buyer}", 1, UserRegistered("Ada", "ada@example.org", "ada@example.org", None)),
            *[new_event(f"product-{it}", 1, ProductAdded(it, "Tea", "2.50", "EUR", False)) for it in products],
            *[new_event(it, 1, placed) for it in streams],
        ],
    )
    projecting = Loop(projection, page_max=PageMax(events=a_page))
    while projecting.project(connection, ALL).events:
        pass
    # Each on a day of its own: rows of their own in the sales by day.
    days = [LONG_AGO + timedelta(days=number) for number in range(orders)]
    append_events(database_url, [new_event(it, 2, cancelled, day) for it, day in zip(streams, days, strict=True)])
    batches = []
    while events := projecting.project(connection, ALL).events:
        batches.append(events)
    assert sum(batches) == orders
    assert max(batches) * lines <= CHANGED_ROWS_MAX + a_page * lines


def test_a_batch_tells_how_far_it_came_and_how_far_it_is(writing: Writing, connection: Connection) -> None:
    for _ in range(7):
        writing.user()

    def project(limit: int, until: int | None = None) -> tuple[int, int, int, int]:
        told = Loop(SHOP).project(connection, limit, until)
        return told.position, told.head, told.events, told.lag

    assert project(3) == (3, 7, 3, 4)
    assert project(3, until=5) == (5, 5, 2, 0)
    assert project(3, until=4) == (5, 4, 0, 0)
    assert project(3) == (7, 7, 2, 0)


def test_rows_without_their_checkpoint_are_never_seen(
    writing: Writing, connection: Connection, other: Connection
) -> None:
    writing.user()
    on_moving_the_checkpoint(other, "RAISE EXCEPTION 'no further';")
    with pytest.raises(psycopg.errors.RaiseException):
        Loop(SHOP).project(connection, ALL)
    assert (position(other), contents(other)["users"]) == (0, [])

    nothing_happens_any_more(other)
    assert project_all(connection) == 1
    assert (position(other), len(contents(other)["users"])) == (1, 1)


def test_a_projector_that_dies_in_a_batch_leaves_it_to_the_next(
    writing: Writing, database_url: str, connection: Connection, other: Connection
) -> None:
    writing.history(orders=4)
    Loop(SHOP).project(connection, 5)
    on_moving_the_checkpoint(other, "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW;")
    with pytest.raises(psycopg.OperationalError):
        Loop(SHOP).project(connection, ALL)
    assert connection.closed
    assert position(other) == 5

    nothing_happens_any_more(other)
    with connect(database_url) as next_one, Shadow(next_one, SHOP, "again") as shadow:
        assert project_all(next_one) == head(other) - 5
        shadow.fill(lambda _: None)
        assert contents(next_one) == contents(next_one, "again")


def test_a_stalled_projector_is_ended_by_the_database(connection: Connection) -> None:
    """Its lock on the checkpoint goes with it; how PostgreSQL does that is PostgreSQL's to test."""
    assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == (f"{stalled.SECONDS_MAX}s",)


def test_a_rebuild_may_fold_for_minutes_without_a_statement(database_url: str) -> None:
    """It locks nothing that others use, and a busy machine may need more than 5 seconds for a page of events."""
    with building(database_url, SHOP) as connection:
        assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("10min",)


def test_a_checkpoint_that_was_moved_meanwhile_fences_the_batch(
    writing: Writing, connection: Connection, other: Connection
) -> None:
    writing.user()
    on_moving_the_checkpoint(other, "RETURN NULL;")
    with pytest.raises(Fenced, match="no longer at 0"):
        Loop(SHOP).project(connection, ALL)
    assert contents(other)["users"] == []


def test_a_second_projector_does_not_wait_for_the_first(
    writing: Writing, connection: Connection, other: Connection
) -> None:
    writing.user()
    with other.transaction():
        other.execute("SELECT FROM shop.checkpoint FOR UPDATE")
        connection.execute("SET statement_timeout = '5s'")
        assert Loop(SHOP).project(connection, ALL) == Progress(position=0, head=1, events=0)
        PostgresWriter(SHOP).beat(connection, 1)
    assert project_all(connection) == 1


def test_two_at_once_project_every_event_once(writing: Writing, database_url: str, other: Connection) -> None:
    writing.history(orders=40)
    events: list[int] = []

    def work() -> None:
        with connect(database_url) as connection:
            while (progress := Loop(SHOP).project(connection, 7)).lag:
                events.append(progress.events)
            events.append(progress.events)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(events) == head(other) == position(other)
    with connect(database_url) as connection, Shadow(connection, SHOP, "alone") as shadow:
        shadow.fill(lambda _: None)
        assert contents(connection) == contents(connection, "alone")


def test_an_idle_look_writes_nothing(connection: Connection) -> None:
    """A row lock is a write, and its commit a flush of the disk; each projection looks every second."""
    Loop(SHOP).project(connection, ALL)
    assert connection.execute("SELECT xmax::text FROM shop.checkpoint").fetchone() == ("0",)


def test_a_failure_is_forgotten_when_the_tables_are_at_the_head(writing: Writing, connection: Connection) -> None:
    writing.user()
    PostgresWriter(SHOP).report(connection, "DiskFull: no space left")
    PostgresWriter(SHOP).beat(connection, head=1)
    assert error(connection) == "DiskFull: no space left"
    Loop(SHOP).project(connection, ALL)
    assert error(connection) is None

    PostgresWriter(SHOP).report(connection, "OperationalError: gone")
    PostgresWriter(SHOP).beat(connection, head=1)
    assert error(connection) is None


def test_the_checkpoint_records_the_last_worker_and_its_time(connection: Connection) -> None:
    before = connection.execute("SELECT seen_at FROM shop.checkpoint").fetchone()
    PostgresWriter(SHOP).beat(connection, 0)
    worker, later = connection.execute("SELECT worker, seen_at > %s FROM shop.checkpoint", before).fetchone() or ()
    assert (worker, later) == (WORKER, True)


def test_a_batch_of_large_events_ends_early_and_makes_the_same_tables(writing: Writing, connection: Connection) -> None:
    """Each event is a page of its own here, as events of several megabytes are."""
    writing.history(orders=20)
    project_all(connection)
    whole = contents(connection)
    with Shadow(connection, SHOP, "large") as shadow:
        projecting = Loop(SHOP, shadow.schema, page_max=PageMax(data_bytes=1))
        assert projecting.project(connection, 1_000).events == BATCH_PAGES_MAX
        while projecting.project(connection, 1_000).events:
            pass
        assert contents(connection, shadow.schema) == whole


def test_a_batch_that_has_taken_long_ends_with_the_page_that_it_has(writing: Writing, connection: Connection) -> None:
    """On a busy machine its transaction would time out, and all its work would be lost."""
    writing.history(orders=5)
    project_all(connection)
    whole = contents(connection)
    with Shadow(connection, SHOP, "in_time") as shadow:
        projecting = Loop(SHOP, shadow.schema, page_max=PageMax(events=7), batch_seconds=0.0)
        batches = []
        while events := projecting.project(connection, ALL).events:
            batches.append(events)
        assert set(batches[:-1]) == {7}
        assert contents(connection, shadow.schema) == whole
