"""Operators retry and skip parked streams, one by one or a group at a time."""

import time
import tracemalloc

import psycopg
import pytest
from psycopg import Connection

from eventlog.events import OrderPlaced, UserChanged
from eventlog.ids import new_id
from projector.loop import Loop
from projector.parked import Drained, NotParked, drain, groups, held_back, skip, skip_group
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.retrying import FIRST_STREAMS, Rounds
from projector.verify import verify
from tests.builders import Writing, append_events, new_event
from tests.projector.parked_streams import broken, mend, parked, project, retry, user
from tests.projector.read_tables import contents


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


def test_a_replay_leaves_out_a_skipped_event_that_it_could_project_now(
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


def test_without_its_first_event_a_stream_stays_out_and_its_dependents_wait(
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


HELD = 60


@pytest.fixture
def mended(database_url: str, connection: Connection) -> None:
    """A user and his HELD large orders are parked, and could be projected by now."""
    buyer = new_id()
    append_events(database_url, [broken(new_event(f"user-{buyer}", 1, user(1)), "unknown version")])
    large = OrderPlaced(buyer, None, "EUR", "0", "x" * 500_000, ())
    append_events(database_url, [new_event(f"order-{new_id()}", 1, large) for _ in range(HELD)])
    project(connection)
    assert len(parked(connection)) == HELD + 1
    mend(connection, f"user-{buyer}", 1, user(1))


@pytest.mark.usefixtures("mended")
def test_a_round_frees_a_few_streams_at_a_time_because_live_projection_waits(connection: Connection) -> None:
    rounds, loop, left = Rounds(), Loop(SHOP), [HELD + 1]
    while rounds.go_on(connection, loop):
        left.append(len(parked(connection)))
    assert HELD + 1 - FIRST_STREAMS <= left[1] <= HELD
    assert left[-1] == 0


def test_a_round_in_which_all_fail_as_before_writes_none_of_them(
    order: dict[str, str], database_url: str, connection: Connection
) -> None:
    append_events(database_url, [broken(new_event(order["another"], 2, UserChanged("Eve", None)), "of another shape")])
    project(connection)
    written = (
        "SELECT stream, xmin::text FROM shop.parked UNION ALL SELECT parked_changes::text, '' FROM shop.checkpoint"
    )
    before = connection.execute(written).fetchall()
    assert len(before) == 4
    rounds, loop = Rounds(), Loop(SHOP)
    while rounds.go_on(connection, loop):
        pass
    assert connection.execute(written).fetchall() == before
    assert len(retry(connection, loop)) == 3


@pytest.mark.usefixtures("mended")
def test_large_orders_that_were_held_back_are_projected_in_little_memory(
    database_url: str, connection: Connection
) -> None:
    tracemalloc.start()
    try:
        drained = retry(connection, Loop(SHOP))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [(it.events, it.parked) for it in drained] == [(1, None)] * (HELD + 1)
    assert parked(connection) == {}
    assert peak < 20_000_000  # of 30 MB
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_a_stream_that_stays_out_for_good_does_not_count_as_parked(
    order: dict[str, str], database_url: str, connection: Connection
) -> None:
    project(connection)
    assert parked_by_the_checkpoint(connection) == len(parked(connection)) == 2
    skip(connection, Loop(SHOP), order["user"], "a test user", "me")
    assert parked_by_the_checkpoint(connection) == len(parked(connection)) == 1
    skip(connection, Loop(SHOP), order["order"], "a test user's", "me")
    assert parked_by_the_checkpoint(connection) == 0
    append_events(database_url, [new_event(order["user"], 3, UserChanged("Eve", None))])
    before = contents(connection)["users"]
    project(connection)  # a loop that has just started must know what stays out
    assert contents(connection)["users"] == before
    assert parked_by_the_checkpoint(connection) == 0
    replay(database_url, SHOP, lambda _: None)
    assert parked_by_the_checkpoint(connection) == 0
    assert verify(database_url, SHOP, lambda _: None).differences == []


def parked_by_the_checkpoint(connection: Connection) -> int:
    """How many streams are parked by what reads go by: only if there are any do they look for them."""
    ((count,),) = connection.execute("SELECT parked FROM shop.checkpoint").fetchall()
    return int(count)


def test_a_worker_reads_the_parked_streams_anew_after_a_replay(database_url: str, connection: Connection) -> None:
    """After the replay other streams are parked, though their table was changed as often as the one before it."""
    streams = [f"user-{new_id()}" for _ in range(2)]
    append_events(database_url, [broken(new_event(it, 1, user(n)), "of another shape") for n, it in enumerate(streams)])
    worker = Loop(SHOP)
    worker.project(connection, 100)
    assert list(parked(connection)) == streams
    mend(connection, streams[0], 1, user(0))
    replay(database_url, SHOP, lambda _: None)
    assert list(parked(connection)) == streams[1:]
    append_events(database_url, [new_event(streams[0], 2, UserChanged("Ada", None))])
    worker.project(connection, 100)
    assert connection.execute("SELECT name FROM shop.users").fetchall() == [("Ada",)]
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_skipping_a_group_leaves_other_streams_parked(database_url: str, connection: Connection) -> None:
    streams = [f"user-{new_id()}" for _ in range(4)]
    append_events(database_url, [new_event(stream, 1, user(number)) for number, stream in enumerate(streams[:3])])
    events = [new_event(stream, 2, UserChanged("Ada", None)) for stream in streams[:3]]
    events.append(new_event(streams[3], 1, user(3)))
    append_events(database_url, [broken(event, "unknown type") for event in events[:2] + events[3:]])
    append_events(database_url, [broken(events[2], "unknown version")])
    append_events(database_url, [new_event(streams[0], 3, UserChanged("Bea", None))])
    project(connection)
    of_type, of_version = groups(connection, [SHOP])
    assert (of_type.streams, of_version.streams) == (3, 1)
    listed = [it.parked for it in held_back(connection, SHOP)]
    assert [it.parked for it in held_back(connection, SHOP, most=2)] == listed[:2]
    assert [it.parked.stream for it in held_back(connection, SHOP, stream=streams[2])] == [streams[2]]
    retry(connection, Loop(SHOP), group=of_version)
    assert len(parked(connection)) == 4

    first, second, _, out = streams
    drained = {it.stream: it for _, it in skip_group(connection, Loop(SHOP), of_type, "not needed", "me")}
    assert drained.keys() == {first, second, out}
    assert drained[first] == Drained(first, 2, None)
    assert parked(connection).keys() == {streams[2]}
    assert connection.execute("SELECT count(*), min(reason) FROM log.skips").fetchone() == (3, "not needed")
    assert ("Bea",) in connection.execute("SELECT name FROM shop.users").fetchall()
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_a_stream_that_another_process_has_freed_meanwhile_is_passed_over(
    order: dict[str, str], database_url: str, connection: Connection, other: Connection
) -> None:
    project(connection)
    mend(connection, order["user"], 1, user(1))
    retry(other, Loop(SHOP))
    assert list(drain(Loop(SHOP), connection, [order["user"]])) == [Drained(order["user"], 0, None)]
    with pytest.raises(NotParked):
        retry(connection, Loop(SHOP), order["user"])


def test_a_skip_is_never_rewritten(order: dict[str, str], connection: Connection) -> None:
    project(connection)
    skip(connection, Loop(SHOP), order["user"], "a test user", "me")
    for statement in ("UPDATE log.skips SET reason = 'x'", "DELETE FROM log.skips", "TRUNCATE log.skips"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"log\.skips is append-only"):
            connection.execute(statement.encode())


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
