import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from psycopg import Connection

from projector import bell
from projector.bell import Bell
from projector.projections.shop import SHOP
from projector.verify import verify
from projector.worker import Projectors
from service.projections import PROJECTIONS
from tests.builders import Writing, wait_until
from tests.projector.read_tables import head, position
from tests.projector.worker_process import WorkerProcess

NO_REDIS = "redis://127.0.0.1:1/0"
SOON = 5
# Longer than a worker looks again by itself after a batch. A second is no multiple of it, so the events come at other
# moments than the worker's own look, once a second.
PAUSE_SECONDS = 0.35


@pytest.fixture
def projectors(database_url: str, redis_url: str) -> Iterator[Projectors]:
    projectors = Projectors(database_url, PROJECTIONS, redis_url)
    projectors.start()
    yield projectors
    projectors.stop()
    projectors.close()


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


def seconds_to_project(times: int, writing: Writing, connection: Connection) -> float:
    """Append an event so many times, each after a pause; returns how long all of them took to be projected."""
    seconds = 0.0
    for _ in range(times):
        time.sleep(PAUSE_SECONDS)
        seconds += seconds_until_visible(writing, connection)
    return seconds


def test_a_worker_is_woken_by_the_bell_and_looks_by_itself_without_it(
    heard: Writing, database_url: str, redis_url: str, other: Connection, tmp_path: Path
) -> None:
    with WorkerProcess(database_url, redis_url, tmp_path), redis.Redis.from_url(redis_url) as client:
        # If the bell did not wake it, the worker would need about 0.6 s each time.
        assert seconds_to_project(8, heard, other) < 3

        with heard.traffic():
            until = time.monotonic() + 1
            while time.monotonic() < until:
                assert client.llen(f"dramatiq:{bell.QUEUE}") <= 1
        wait_until(lambda: all_is_projected(other), SOON, "the traffic to be projected")

        # Redis has lost its data in a restart: the first ring may be lost, the later ones are not.
        client.flushdb()
        assert seconds_until_visible(heard, other) < 3
        assert seconds_to_project(8, heard, other) < 3

        with Writing(database_url) as unheard:
            for _ in range(3):
                time.sleep(PAUSE_SECONDS)
                assert seconds_until_visible(unheard, other) < 3


def test_a_worker_on_the_same_redis_database_takes_no_news_from_another(
    heard: Writing, database_url: str, module_database_url: str, redis_url: str, other: Connection, tmp_path: Path
) -> None:
    """Two deployments that were given one Redis database by mistake wake each other, and nothing more."""
    (neighbour := tmp_path / "neighbour").mkdir()
    with (
        WorkerProcess(module_database_url, redis_url, neighbour),
        WorkerProcess(database_url, redis_url, tmp_path),
    ):
        assert seconds_to_project(8, heard, other) < 3


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
    verdict = verify(database_url, SHOP, lambda _: None)
    assert (verdict.position, verdict.differences) == (head(other), [])


def test_all_projections_are_kept_current(projectors: Projectors, writing: Writing, other: Connection) -> None:
    writing.history(orders=5)
    projectors.wake()
    for projection in PROJECTIONS:
        wait_until(lambda: position(other, projection.name) == head(other), SOON, f"{projection.name}")  # noqa: B023


def test_a_projection_that_stands_still_holds_back_no_other(
    projectors: Projectors, writing: Writing, other: Connection
) -> None:
    with other.transaction():
        other.execute("LOCK TABLE sales.checkpoint")
        writing.history(orders=5)
        projectors.wake()
        wait_until(lambda: all_is_projected(other), SOON, "the shop")
        assert position(other, "sales") == 0
    wait_until(lambda: position(other, "sales") == head(other), 2 * SOON, "the sales")


def test_a_message_that_waited_in_the_queue_wakes_the_worker_and_lets_the_next_one_wait(
    projectors: Projectors, writing: Writing, redis_url: str, other: Connection
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(bell.WAITING_KEY, 1)
        writing.user()
        projectors.take_message()
        wait_until(lambda: all_is_projected(other), SOON, "the event to be projected")
        assert not client.exists(bell.WAITING_KEY)


def test_a_worker_that_stops_stops_soon(database_url: str, redis_url: str, writing: Writing) -> None:
    projectors = Projectors(database_url, PROJECTIONS, redis_url)
    projectors.start()
    writing.history(orders=5)
    projectors.wake()
    started = time.monotonic()
    projectors.stop()
    projectors.close()
    assert time.monotonic() - started < 2


def test_a_redis_that_is_gone_holds_no_projector_up(database_url: str, writing: Writing, other: Connection) -> None:
    projectors = Projectors(database_url, PROJECTIONS, NO_REDIS)
    projectors.start()
    writing.user()
    projectors.wake()
    wait_until(lambda: all_is_projected(other), 3, "the event to be projected")
    projectors.stop()
    projectors.close()


def test_an_event_that_comes_during_a_batch_is_not_missed(
    projectors: Projectors, heard: Writing, other: Connection
) -> None:
    """A follower that is woken while it works looks once more. Its own look, once a second, would be too late here."""
    began = time.monotonic()
    for _ in range(40):
        heard.user()
        time.sleep(0.013)  # about as long as a batch takes, so that some events come during one
    wait_until(lambda: all_is_projected(other), 0.4, "the last event to be projected")
    assert time.monotonic() - began < 5
