import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import Connection

from eventlog import stalled
from projector import bell, loop, worker
from projector.bell import Bell
from projector.verify import verify
from projector.worker import LINGER_SECONDS, Projector
from tests.builders import Writing, wait_until
from tests.projector.read_tables import contents, error, head, position
from tests.projector.test_loop import (
    nothing_happens_any_more,
    on_moving_the_checkpoint,
)
from tests.projector.worker_process import WorkerProcess

NO_REDIS = "redis://127.0.0.1:1/0"
SOON = 5


@pytest.fixture
def projector(database_url: str, redis_url: str) -> Iterator[Projector]:
    projector = Projector(database_url, bell.client(redis_url))
    yield projector
    projector.stop()
    projector.close()


@pytest.fixture
def ringing(redis_url: str) -> Iterator[Bell]:
    ringing = Bell(redis_url)
    ringing.start()
    yield ringing
    ringing.stop()


@pytest.fixture
def heard(database_url: str, ringing: Bell) -> Iterator[Writing]:
    """The write side, with a bell."""
    with Writing(database_url, ringing.ring) as writing:
        yield writing


def all_is_projected(connection: Connection) -> bool:
    return position(connection) == head(connection)


def seconds_until_visible(writing: Writing, connection: Connection) -> float:
    writing.user()
    started = time.monotonic()
    wait_until(lambda: all_is_projected(connection), SOON, "the event to be projected")
    return time.monotonic() - started


def seconds_to_wake(times: int, writing: Writing, connection: Connection) -> float:
    """The time that it takes to wake a worker that has fallen asleep, so many times."""
    seconds = 0.0
    for _ in range(times):
        time.sleep(LINGER_SECONDS + 0.15)
        seconds += seconds_until_visible(writing, connection)
    return seconds


def test_a_worker_is_woken_by_the_bell_and_looks_by_itself_without_it(
    heard: Writing, database_url: str, redis_url: str, other: Connection, tmp_path: Path
) -> None:
    with WorkerProcess(database_url, redis_url, tmp_path), redis.Redis.from_url(redis_url) as client:
        # Left to its sweep, it would need 0.6 s each time.
        assert seconds_to_wake(8, heard, other) < 3

        with heard.traffic():
            until = time.monotonic() + 1
            while time.monotonic() < until:
                assert client.llen(f"dramatiq:{bell.QUEUE}") <= 1
        wait_until(lambda: all_is_projected(other), SOON, "the traffic to be projected")

        # As after a restart of a Redis that keeps nothing: the first ring may be lost, those after it are not.
        client.flushdb()
        assert seconds_until_visible(heard, other) < 3
        assert seconds_to_wake(8, heard, other) < 3

        with Writing(database_url) as unheard:
            for _ in range(3):
                time.sleep(LINGER_SECONDS)
                assert seconds_until_visible(unheard, other) < 3


def test_without_redis_the_worker_looks_by_itself(
    writing: Writing, database_url: str, other: Connection, tmp_path: Path
) -> None:
    with WorkerProcess(database_url, NO_REDIS, tmp_path):
        for _ in range(3):
            assert seconds_until_visible(writing, other) < 3


def test_another_worker_takes_over_from_one_that_was_killed(
    heard: Writing, database_url: str, redis_url: str, other: Connection, tmp_path: Path
) -> None:
    with WorkerProcess(database_url, redis_url, tmp_path) as first:
        with heard.traffic():
            wait_until(lambda: position(other) > 100, 2 * SOON, "some events to be projected")
            first.kill()
            left_at = position(other)
            wait_until(lambda: head(other) > left_at + 100, SOON, "events that nobody projects")
        with WorkerProcess(database_url, redis_url, tmp_path):
            wait_until(lambda: all_is_projected(other), SOON, "another to go on")
    verdict = verify(database_url, lambda _: None)
    assert (verdict.position, verdict.differences) == (head(other), [])


def test_a_lost_connection_is_made_again_at_once(projector: Projector, writing: Writing, other: Connection) -> None:
    writing.user()
    projector.sweep()
    other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'orders projector'"
    )
    writing.user()
    projector.sweep()
    assert (position(other), error(other)) == (2, None)


def test_a_session_that_is_ended_in_a_batch_is_made_again(
    projector: Projector, writing: Writing, other: Connection
) -> None:
    writing.history(orders=3)
    on_moving_the_checkpoint(other, "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW;")
    projector.sweep()
    assert (position(other), contents(other)["users"]) == (0, [])
    nothing_happens_any_more(other)
    projector.sweep()
    assert all_is_projected(other)
    assert error(other) is None


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(worker, "BATCH_EVENTS_MAX", 20)
    monkeypatch.setattr(worker, "RETRIED_EVENTS_MAX", 5)
    monkeypatch.setattr(loop, "PAGE_EVENTS_MAX", 5)
    return 20


@pytest.mark.parametrize("statement", ["SELECT repeat('x', 100000000)", "COPY read.users FROM STDIN"])
def test_the_checkpoint_is_taken_from_whoever_stops_in_the_middle_of_a_statement(
    projector: Projector, writing: Writing, other: Connection, database_url: str, statement: str
) -> None:
    """The server's own timeout does not reach a session that waits for its client to read or to write."""
    writing.user()
    with closing(psycopg.connect(database_url, application_name="orders projector")) as stopped:
        stopped.execute("SELECT FROM read.checkpoint FOR UPDATE")
        stopped.pgconn.send_query(statement.encode())  # and goes no further

        def taken() -> bool:
            projector.sweep()
            return all_is_projected(other)

        wait_until(taken, stalled.SECONDS_MAX + SOON, "it to be taken")


SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'orders projector' AND pid <> pg_backend_pid()"
)


def test_whoever_is_far_behind_reads_ahead_and_comes_to_the_same_tables(
    projector: Projector, writing: Writing, other: Connection, database_url: str, small_batches: int
) -> None:
    writing.history(orders=60)
    projector._project()
    assert other.execute(SESSIONS).fetchone() == (2,)
    assert projector.catch_up().events == head(other) - small_batches
    assert other.execute(SESSIONS).fetchone() == (1,)
    assert verify(database_url, lambda _: None).differences == []


def test_a_lost_connection_for_reading_ahead_is_no_failure(
    projector: Projector, writing: Writing, other: Connection, small_batches: int
) -> None:
    writing.history(orders=60)
    projector._project()
    assert projector._ahead is not None
    projector._ahead._connection.close()
    projector.sweep()
    assert all_is_projected(other)
    assert error(other) is None


def test_a_server_that_is_too_slow_for_a_batch_gets_smaller_ones(
    projector: Projector, writing: Writing, other: Connection, small_batches: int
) -> None:
    writing.history(orders=60)
    on_moving_the_checkpoint(
        other,
        "IF NEW.position > OLD.position + 5 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW;",
    )
    projector.sweep()
    assert all_is_projected(other)
    assert error(other) is None


def test_an_error_is_told_until_things_work_again(
    projector: Projector, writing: Writing, database_url: str, other: Connection
) -> None:
    writing.user()
    on_moving_the_checkpoint(
        other, "IF NEW.position <> OLD.position THEN RAISE EXCEPTION 'not now'; END IF; RETURN NEW;"
    )
    projector.sweep()
    assert "not now" in (error(other) or "")
    nothing_happens_any_more(other)
    projector.sweep()
    assert (position(other), error(other)) == (1, None)

    # With nothing left to project, too.
    other.execute("UPDATE read.checkpoint SET error = 'of another worker'")
    projector.sweep()
    assert error(other) is None


def test_news_that_comes_during_a_sweep_is_not_lost(
    projector: Projector, writing: Writing, redis_url: str, other: Connection
) -> None:
    sweeping = threading.Thread(target=projector.sweep)
    woken = threading.Thread(target=projector.stay_awake)
    with redis.Redis.from_url(redis_url) as client:
        with other.transaction():
            other.execute("LOCK TABLE read.checkpoint")
            sweeping.start()
            wait_until(projector._busy.locked, SOON, "the sweep")
            client.set(bell.KEY, 1)
            woken.start()
            writing.user()
            woken.join(0.2)
            assert woken.is_alive(), "the sweep may have looked already, so its end is waited for"
        sweeping.join(SOON)
        woken.join(SOON)
        assert all_is_projected(other)
        assert not client.exists(bell.KEY), "what comes next could not ring"


def test_whoever_is_awake_stays_awake_while_events_come_and_then_lets_others_ring(
    projector: Projector, writing: Writing, redis_url: str, other: Connection
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(bell.KEY, 1)
        awake = threading.Thread(target=projector.stay_awake)
        awake.start()
        for _ in range(5):
            writing.user()
            time.sleep(LINGER_SECONDS / 2)
            assert awake.is_alive()
        awake.join(SOON)
        assert not awake.is_alive()
        assert not client.exists(bell.KEY)
        assert all_is_projected(other)


def test_news_that_comes_while_a_projector_falls_asleep_rings(
    projector: Projector, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever appends after the last look must find the bell answered, or nobody is woken for it."""
    with redis.Redis.from_url(redis_url) as client:
        client.set(bell.KEY, 1)
        known_at_last_look: list[object] = []
        last_look = projector.catch_up
        monkeypatch.setattr(
            projector, "catch_up", lambda: (known_at_last_look.append(client.exists(bell.KEY)), last_look())[1]
        )
        projector.stay_awake()
    assert known_at_last_look == [0]


def test_a_projector_that_is_to_stop_stops_after_its_batch(
    projector: Projector, writing: Writing, other: Connection
) -> None:
    projector.stop()
    started = time.monotonic()
    projector.stay_awake()
    assert time.monotonic() - started < 2


def test_a_database_that_is_gone_is_waited_for(database_url: str) -> None:
    projector = Projector(f"{database_url}&dbname=not_there")
    projector.sweep()
    projector.stay_awake()
    assert "not_there" in (projector._error or "")


def test_a_redis_that_is_gone_holds_no_projector_up(
    database_url: str, writing: Writing, other: psycopg.Connection
) -> None:
    projector = Projector(database_url, bell.client(NO_REDIS))
    writing.user()
    started = time.monotonic()
    projector.stay_awake()
    projector.close()
    assert all_is_projected(other)
    assert time.monotonic() - started < 3
