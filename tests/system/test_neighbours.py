"""What others do on the same PostgreSQL, and what happens to its clock, holds up neither appends nor projections."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import Connection

from projector.bell import Bell
from projector.projections.shop import SHOP
from projector.verify import verify
from service.embedded import postgres_program
from tests.builders import Writing, wait_until
from tests.conftest import Servers, url_of
from tests.projector.read_tables import error, head, position
from tests.projector.worker_process import WorkerProcess

APPENDED_SECONDS_MAX = 3
VISIBLE_SECONDS_MAX = 5
EVENTS = 10


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def writing(database_url: str, redis_url: str) -> Iterator[Writing]:
    """The write side, with a bell."""
    ringing = Bell(redis_url)
    ringing.start()
    with Writing(database_url, ringing.ring) as writing:
        yield writing
    ringing.stop()


@contextmanager
def a_snapshot_held(url: str, isolation: str = "REPEATABLE READ") -> Iterator[None]:
    """A transaction with an id and a snapshot, idle."""
    with psycopg.connect(url) as neighbour:
        neighbour.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
        neighbour.execute("CREATE TEMPORARY TABLE of_mine AS SELECT pg_current_xact_id()")
        yield


@contextmanager
def all_tables_read(url: str) -> Iterator[None]:
    """A session that has read all our tables stays open in its transaction."""
    with psycopg.connect(url) as neighbour:
        for table in ("log.events", "log.head", "log.claims", "shop.orders", "shop.checkpoint"):
            neighbour.execute(f"SELECT count(*) FROM {table}".encode())
        yield


@contextmanager
def dumped_again_and_again(url: str, directory: Path) -> Iterator[None]:
    stopping = threading.Event()
    codes: list[int] = []

    def run() -> None:
        while not stopping.is_set():
            dump = [str(postgres_program("pg_dump")), "--format=custom", f"--file={directory / 'dump'}", url]
            codes.append(subprocess.run(dump, check=False, timeout=60).returncode)

    dumping = threading.Thread(target=run)
    dumping.start()
    yield
    stopping.set()
    dumping.join(60)
    assert codes
    assert not any(codes)


def goes_on(other: Connection, writing: Writing, seconds: float = 1.0) -> None:
    """Users are registered one after another and become visible, each soon."""
    for _ in range(EVENTS):
        started = time.monotonic()
        writing.user()
        assert time.monotonic() - started < APPENDED_SECONDS_MAX
        wait_until(lambda: position(other) == head(other), VISIBLE_SECONDS_MAX, "the event to be projected")
        time.sleep(seconds / EVENTS)
    assert error(other) is None


def test_other_sessions_of_the_database_delay_no_request(
    database_url: str, redis_url: str, servers: Servers, writing: Writing, other: Connection, tmp_path: Path
) -> None:
    with WorkerProcess(database_url, redis_url, tmp_path):
        with a_snapshot_held(url_of(servers.postgres_url, "postgres")):
            goes_on(other, writing)
        with a_snapshot_held(database_url, "SERIALIZABLE"), all_tables_read(database_url):
            goes_on(other, writing)
        with dumped_again_and_again(database_url, tmp_path):
            goes_on(other, writing, seconds=3)
    assert verify(database_url, SHOP, lambda _: None).differences == []


def test_a_clock_that_is_set_back_an_hour_turns_nothing_around(
    database_url: str, redis_url: str, writing: Writing, other: Connection, tmp_path: Path
) -> None:
    """To the log it is the same as if all so far had been recorded an hour in the future."""
    with WorkerProcess(database_url, redis_url, tmp_path):
        goes_on(other, writing)
        other.execute("UPDATE log.head SET recorded_at = clock_timestamp() + interval '1 hour'")
        other.execute("UPDATE shop.checkpoint SET seen_at = seen_at + interval '1 hour', updated_at = seen_at")
        goes_on(other, writing)
        wait_until(
            lambda: bool(other.execute("SELECT FROM shop.checkpoint WHERE seen_at <= clock_timestamp()").rowcount),
            VISIBLE_SECONDS_MAX,
            "the worker to leave word by the new clock",
        )
    backwards = other.execute(
        "SELECT FROM log.events AS one JOIN log.events AS next ON next.position = one.position + 1 "
        "WHERE next.recorded_at < one.recorded_at"
    )
    assert backwards.rowcount == 0
    last = other.execute(
        "SELECT max(recorded_at) >= clock_timestamp() + interval '50 minutes' FROM log.events"
    ).fetchone()
    assert last == (True,)
    assert verify(database_url, SHOP, lambda _: None).differences == []
