"""One projection and the thread that keeps it current."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from eventlog import stalled
from eventlog.events import ProductAdded, StockAdjusted, UserRegistered
from eventlog.ids import new_id
from projector.connecting import connect
from projector.follower import Follower
from projector.loop import Loop
from projector.paging import PageMax
from projector.parked import held_back
from projector.projection import Envelope
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.rows import Rows
from projector.verify import verify
from tests.builders import Writing, append_events, new_event, wait_until
from tests.projector.parked_streams import broken, project, retry, user
from tests.projector.read_tables import contents, error, head, position
from tests.projector.test_loop import nothing_happens_any_more, on_moving_the_checkpoint

SOON = 5


@pytest.fixture
def follower(database_url: str) -> Iterator[Follower]:
    follower = Follower(database_url, SHOP)
    yield follower
    follower.stop()
    follower.close()


def all_is_projected(connection: Connection) -> bool:
    return position(connection) == head(connection)


def test_a_lost_connection_is_made_again_at_once(follower: Follower, writing: Writing, other: Connection) -> None:
    writing.user()
    follower.sweep()
    other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'orders projector'"
    )
    writing.user()
    follower.sweep()
    assert (position(other), error(other)) == (2, None)


def test_a_session_that_is_ended_in_a_batch_is_made_again(
    follower: Follower, writing: Writing, other: Connection
) -> None:
    writing.history(orders=3)
    on_moving_the_checkpoint(other, "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW;")
    follower.sweep()
    assert (position(other), contents(other)["users"]) == (0, [])
    nothing_happens_any_more(other)
    follower.sweep()
    assert all_is_projected(other)
    assert error(other) is None


@pytest.mark.parametrize("statement", ["SELECT repeat('x', 100000000)", "COPY shop.users FROM STDIN"])
def test_a_worker_that_stops_in_the_middle_of_a_statement_loses_the_checkpoint(
    follower: Follower, writing: Writing, other: Connection, database_url: str, statement: str
) -> None:
    """The server's own timeout does not reach a session that waits for its client to read or to write."""
    writing.user()
    with closing(psycopg.connect(database_url, application_name="orders projector")) as stopped:
        stopped.execute("SELECT FROM shop.checkpoint FOR UPDATE")
        stopped.pgconn.send_query(statement.encode())  # and goes no further

        def taken() -> bool:
            follower.sweep()
            return all_is_projected(other)

        wait_until(taken, stalled.SECONDS_MAX + SOON, "it to be taken")


SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'orders projector' AND pid <> pg_backend_pid()"
)


def test_a_follower_that_is_far_behind_makes_the_same_tables_in_many_small_pages(
    writing: Writing, other: Connection, database_url: str
) -> None:
    writing.history(orders=60)
    with closing(Follower(database_url, replace(SHOP, batch_events=20), page_max=PageMax(events=5))) as follower:
        assert follower.catch_up().events == head(other)
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_a_server_that_is_too_slow_for_a_batch_gets_smaller_ones(
    writing: Writing, other: Connection, database_url: str
) -> None:
    writing.history(orders=60)
    on_moving_the_checkpoint(
        other,
        "IF NEW.position > OLD.position + 5 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW;",
    )
    with closing(Follower(database_url, replace(SHOP, batch_events=20))) as slow:
        slow.sweep()
    assert all_is_projected(other)
    assert error(other) is None


@pytest.mark.parametrize("rebuilds", [False, True])
def test_a_fold_that_takes_longer_than_a_session_may_be_idle_is_done_in_the_end(
    rebuilds: bool, writing: Writing, database_url: str, other: Connection
) -> None:
    slept: list[float] = []

    def slow(event: Any, of: Envelope, rows: Rows) -> None:
        if not slept:
            slept.append(stalled.SECONDS_MAX + 1)
            time.sleep(slept[0])  # longer than PostgreSQL lets a session be idle
        SHOP.on[UserRegistered](event, of, rows)

    writing.user()
    projection = replace(SHOP, on={**SHOP.on, UserRegistered: slow})
    if rebuilds:
        assert replay(database_url, projection, lambda _: None).position == 1
    else:
        with closing(Follower(database_url, projection)) as follower:
            follower.sweep()
    assert (position(other), error(other), len(slept)) == (1, None, 1)


def test_a_worker_reports_an_error_until_a_batch_succeeds(
    follower: Follower, writing: Writing, database_url: str, other: Connection
) -> None:
    writing.user()
    on_moving_the_checkpoint(
        other, "IF NEW.position <> OLD.position THEN RAISE EXCEPTION 'not now'; END IF; RETURN NEW;"
    )
    follower.sweep()
    assert "not now" in (error(other) or "")
    nothing_happens_any_more(other)
    follower.sweep()
    assert (position(other), error(other)) == (1, None)

    # With nothing left to project, too.
    other.execute("UPDATE shop.checkpoint SET error = 'of another worker'")
    follower.sweep()
    assert error(other) is None


def test_a_log_that_ends_before_the_tables_is_one_line(
    follower: Follower, writing: Writing, other: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    writing.history(orders=1)
    follower.sweep()
    other.execute("UPDATE log.head SET position = 1")
    follower.sweep()
    assert "the log ends at 1: run `orders replay`" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_database_that_is_gone_is_waited_for(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with closing(Follower(f"{database_url}&dbname=not_there", SHOP)) as follower:
        follower.sweep()
    assert "not_there" in caplog.text
    assert "check DATABASE_URL" in caplog.text


def test_tables_of_an_older_version_are_rebuilt(follower: Follower, writing: Writing, other: Connection) -> None:
    writing.history(orders=5)
    follower.sweep()
    whole = contents(other)
    other.execute("UPDATE shop.checkpoint SET version = 0; UPDATE shop.products SET name = 'as the old release had it'")
    writing.user()
    follower.sweep()
    follower.sweep()
    assert other.execute("SELECT version FROM shop.checkpoint").fetchone() == (SHOP.version,)
    assert contents(other)["products"] == whole["products"]
    assert all_is_projected(other)


def test_tables_of_an_older_version_are_left_alone_when_an_operator_rebuilds(
    writing: Writing, other: Connection, database_url: str
) -> None:
    writing.user()
    other.execute("UPDATE shop.checkpoint SET version = 0")
    with closing(Follower(database_url, SHOP, rebuild=False)) as follower:
        follower.sweep()
    assert (position(other), error(other)) == (
        0,
        f"OtherVersion: the tables of shop are of version 0, this release has version {SHOP.version}",
    )


def test_an_older_worker_stands_by_when_it_meets_newer_tables(
    follower: Follower, writing: Writing, other: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when the bell wakes it. It leaves no error behind, which the newer worker would be blamed for."""
    writing.user()
    follower.start()
    wait_until(lambda: all_is_projected(other), SOON, "the worker to project")
    before = position(other)
    other.execute("UPDATE shop.checkpoint SET version = version + 1")
    writing.user()
    until = time.monotonic() + 2.5  # two sweeps, and many wake-ups between them
    while time.monotonic() < until:
        follower.wake()
        time.sleep(0.02)  # time for the follower's thread to look
        assert (position(other), error(other)) == (before, None)
    assert caplog.text.count("stands by") == 1
    other.execute("UPDATE shop.checkpoint SET version = version - 1")
    wait_until(lambda: all_is_projected(other), SOON, "the worker to go on")


def test_a_stream_that_parks_later_is_retried_without_a_restart(
    writing: Writing, database_url: str, other: Connection
) -> None:
    with closing(Follower(database_url, SHOP, retry_seconds=0)) as newer:
        newer.sweep()
        stream = parked_by_an_older_release(database_url)
        assert [it.parked.stream for it in held_back(other, SHOP)] == [stream]
        newer.sweep()
    assert held_back(other, SHOP) == []
    assert len(contents(other)["users"]) == 1


def test_a_starting_worker_retries_streams_that_an_older_release_parked(database_url: str, other: Connection) -> None:
    parked_by_an_older_release(database_url)
    with closing(Follower(database_url, SHOP)) as newer:
        newer.sweep()
    assert held_back(other, SHOP) == []


def test_a_worker_does_not_retry_at_every_look(database_url: str, other: Connection) -> None:
    with closing(Follower(database_url, SHOP)) as newer:
        newer.sweep()
        stream = parked_by_an_older_release(database_url)
        newer.sweep()
    assert [it.parked.stream for it in held_back(other, SHOP)] == [stream]


def parked_by_an_older_release(database_url: str) -> str:
    """Append a user whom an older release cannot project, and have it park the stream; returns the stream."""
    stream = f"user-{new_id()}"
    user = UserRegistered("Ada", "ada@example.org", "ada@example.org", None)
    append_events(database_url, [new_event(stream, 1, user)])

    def failing(*_: object) -> None:
        raise ZeroDivisionError

    with connect(database_url) as connection:
        Loop(replace(SHOP, on={**SHOP.on, UserRegistered: failing})).project(connection, 100)
    return stream


def test_on_a_busy_log_it_looks_by_itself_also_after_a_small_batch_and_after_its_sweep(
    follower: Follower, writing: Writing, other: Connection
) -> None:
    """On a busy log the bell rings seldom. Without it a look would come once a second only."""
    follower.start()
    follower.wake()
    writing.user()
    wait_until(lambda: all_is_projected(other), SOON, "its first sweep")
    waits = [1.0]
    until = time.monotonic() + 6
    while time.monotonic() < until:
        if waits[-1] > 0.3:
            # Not busy yet. Or this process, which stood still for a moment, has let the follower become idle: then the
            # bell would ring.
            for _ in range(20):
                writing.user()
            follower.wake()
            wait_until(lambda: all_is_projected(other), SOON, "a large batch")
        writing.user()
        began = time.monotonic()
        wait_until(lambda: all_is_projected(other), SOON, "the event")
        waits.append(time.monotonic() - began)
    # Looks that come once a second, always or after each sweep, make the waits long for most of the time.
    assert sum(wait for wait in waits[1:] if wait > 0.3) < 2, waits


@pytest.mark.parametrize(
    "made",
    [
        "CREATE RULE lost AS ON INSERT TO shop.users WHERE new.name <> '' DO INSTEAD NOTHING",
        """CREATE FUNCTION public.lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER lost BEFORE INSERT ON shop.users FOR EACH ROW EXECUTE FUNCTION public.lose()""",
    ],
    ids=["a rule", "a trigger"],
)
def test_a_rule_or_a_trigger_that_drops_new_rows_stops_the_projection_until_it_is_gone(
    made: str, follower: Follower, writing: Writing, other: Connection
) -> None:
    """Only verify found it, when the rows were missing for good."""
    other.execute(made.encode())
    writing.user()
    follower.sweep()
    assert (position(other), "users took 0 of 1 rows: drop the rule" in str(error(other))) == (0, True)
    other.execute("DROP RULE IF EXISTS lost ON shop.users; DROP TRIGGER IF EXISTS lost ON shop.users")
    follower.sweep()
    assert (position(other), error(other)) == (1, None)
    assert len(contents(other)["users"]) == 1


def test_a_retry_of_thousands_of_streams_lets_new_events_through_between_its_sets(
    follower: Follower, writing: Writing, database_url: str, connection: Connection, other: Connection
) -> None:
    streams = [f"user-{new_id()}" for _ in range(6_000)]
    for start in range(0, len(streams), 500):
        events = [new_event(it, 1, user(number)) for number, it in enumerate(streams[start : start + 500], start)]
        append_events(database_url, [broken(event, "unknown type") for event in events])
    project(connection)
    mend_types(other)
    retrying = threading.Thread(target=lambda: retry(connection, Loop(SHOP)))
    follower.start()
    retrying.start()
    assert users_seen_while(retrying.is_alive, follower, writing, other) >= 4
    assert held_back(other, SHOP) == []


def test_a_worker_lets_new_events_through_while_it_drains_a_long_stream(
    follower: Follower, writing: Writing, database_url: str, connection: Connection, other: Connection
) -> None:
    stream = f"product-{new_id()}"
    append_events(
        database_url, [broken(new_event(stream, 1, ProductAdded("CUP", "Cup", "1.00", "EUR", True)), "unknown type")]
    )
    for start in range(2, 15_002, 500):
        counts = [
            new_event(stream, start + number, StockAdjusted(1, "counted", start + number - 1)) for number in range(500)
        ]
        append_events(database_url, counts)
    project(connection)
    mend_types(other, "ProductAdded")
    follower.start()
    wait_until(lambda: held_back(other, SHOP)[0].parked.version > 1, SOON, "the first set")
    assert users_seen_while(lambda: bool(held_back(other, SHOP)), follower, writing, other) >= 4


def mend_types(connection: Connection, type_: str = "UserRegistered") -> None:
    """Have this release know the type of all events at which streams are parked."""
    connection.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
    connection.execute("UPDATE log.events SET type = %s WHERE type = 'UserTeleported'", (type_,))
    connection.execute("ALTER TABLE log.events ENABLE ALWAYS TRIGGER refuse_rewriting")


def users_seen_while(goes_on: Callable[[], bool], follower: Follower, writing: Writing, other: Connection) -> int:
    """How many users are registered and projected, one after another, before something ends."""
    seen = 0
    while True:
        registered = writing.user()
        follower.wake()
        while other.execute("SELECT FROM shop.users WHERE id = %s", (registered,)).rowcount == 0:
            time.sleep(0.005)  # the follower projects meanwhile
        if not goes_on():
            return seen
        seen += 1
