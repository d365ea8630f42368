"""A worker that is stopped in the middle of a batch and comes back: another takes over, and nothing is done twice."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import Connection

from eventlog.events import UserRegistered
from eventlog.ids import new_id
from projector.projections.shop import SHOP
from projector.verify import verify
from tests.builders import Writing, append_events, new_event, wait_until
from tests.projector.read_tables import head, position
from tests.system.stack import ServiceProcess

START_SECONDS_MAX = 30
TAKEN_OVER_SECONDS_MAX = 12
STOPPED_SECONDS = 15

_HOLDING = """
SELECT session.pid FROM pg_stat_activity AS session JOIN pg_locks AS lock USING (pid)
WHERE session.application_name = 'orders projector' AND session.datname = current_database()
    AND lock.relation = 'shop.checkpoint'::regclass AND lock.mode = 'RowShareLock'
    AND session.wait_event = %s
"""
# The first batch takes its time before its rows are written.
_SLOW = """
CREATE SEQUENCE public.batches;
CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF nextval('public.batches') = 1 THEN PERFORM pg_sleep(1); END IF; RETURN NEW; END
$$;
CREATE TRIGGER dawdle BEFORE INSERT ON shop.users FOR EACH STATEMENT EXECUTE FUNCTION public.dawdle()
"""


class Workers:
    """Two `orders work` beside each other, started one by one."""

    def __init__(self, database_url: str, redis_url: str, directory: Path) -> None:
        environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "ALLOW_UNSAFE_DATABASE": "1"}
        self.first = ServiceProcess("first", ["work"], environment, directory)
        self.second = ServiceProcess("second", ["work"], environment, directory)


@pytest.fixture
def workers(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(database_url, redis_url, tmp_path)
    yield workers
    workers.first.stop()
    workers.second.stop()


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def stopped_while(worker: ServiceProcess, other: Connection, event: str) -> int:
    """Stop the worker when its session holds the checkpoint and waits for `event`; returns the session's pid."""
    found: list[int] = []

    until = time.monotonic() + START_SECONDS_MAX
    while not found:  # without a pause: what is to be caught may be over in milliseconds
        found = [pid for (pid,) in other.execute(_HOLDING, (event,)).fetchall()]
        assert time.monotonic() < until, f"no batch to be stopped in, see {worker.log_path}"
    worker.signal(signal.SIGSTOP)
    return found[0]


def holds(other: Connection, pid: int) -> bool:
    found = other.execute("SELECT FROM pg_locks WHERE pid = %s AND relation = 'shop.checkpoint'::regclass", (pid,))
    return found.rowcount > 0


def taken_over_and_refused(workers: Workers, other: Connection, database_url: str, session: int) -> None:
    """The second does the work within 12 s; the first comes back after 15 s, and changes nothing."""
    stopped_at = time.monotonic()
    assert holds(other, session), "it was stopped too late, or nothing kept its lock"
    behind = position(other)
    assert behind < head(other)
    workers.second.start()
    wait_until(lambda: position(other) == head(other), TAKEN_OVER_SECONDS_MAX, "another worker to take over")
    print(f"taken over after {time.monotonic() - stopped_at:.1f} s")
    assert not holds(other, session)
    time.sleep(max(0.0, STOPPED_SECONDS - (time.monotonic() - stopped_at)))
    workers.first.signal(signal.SIGCONT)
    # It finds its batch rolled back and the checkpoint moved; and it still is a worker.
    workers.second.stop()
    with Writing(database_url) as writing:
        writing.user()
    wait_until(lambda: position(other) == head(other), TAKEN_OVER_SECONDS_MAX, "the first to go on")
    assert workers.first.is_alive()
    verdict = verify(database_url, SHOP, lambda _: None)
    assert (verdict.position, verdict.differences) == (head(other), [])


def test_another_takes_over_from_one_that_is_stopped_between_two_statements(
    workers: Workers, other: Connection, database_url: str
) -> None:
    with Writing(database_url) as writing:
        writing.history(orders=5)
    other.execute(_SLOW)
    workers.first.start()
    session = stopped_while(workers.first, other, "PgSleep")
    taken_over_and_refused(workers, other, database_url, session)


def test_another_takes_over_from_one_that_is_stopped_while_it_reads(
    workers: Workers, other: Connection, database_url: str
) -> None:
    """The server's timeouts do not end a session whose client does not take what it is sent."""
    append_events(
        database_url,
        [
            new_event(
                f"user-{new_id()}",
                1,
                UserRegistered("x" * 20_000, f"{number}@example.org", f"{number}@example.org", None),
            )
            for number in range(2_500)
        ],
    )
    workers.first.start()
    session = stopped_while(workers.first, other, "ClientWrite")
    taken_over_and_refused(workers, other, database_url, session)
