"""Jobs: one worker of all runs them, and what a worker leaves behind another one takes up."""

import asyncio
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import Connection

from eventlog.events import UserChanged, UserRegistered
from eventlog.ids import new_id
from projector.connecting import connect
from projector.jobs import table
from projector.jobs.runner import ATTEMPTS_MAX, Runner
from projector.jobs.table import Job, Wanted
from projector.parked import groups
from projector.projections.shop import SHOP
from service import jobs
from service.projections import PROJECTIONS
from tests.builders import append_events, new_event, wait_until
from tests.projecting import sweep
from tests.projector.parked_streams import append_unreadable
from tests.projector.worker_process import WorkerProcess
from tests.served import NO_REDIS

ACTOR = {"kind": "cli", "id": "1000"}
JOB_SECONDS_MAX = 30


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url) as connection:
        yield connection


@pytest.fixture
def runner(database_url: str) -> Iterator[Runner]:
    running = Runner(database_url, PROJECTIONS)
    running.start()
    yield running
    running.stop()
    running.close()


def ask(database_url: str, wanted: Wanted) -> str:
    return asyncio.run(jobs.ask(database_url, ACTOR, wanted))


def job(connection: Connection, id_: str) -> Job:
    found = table.one(connection, id_)
    assert found is not None
    return found


def ended(connection: Connection, id_: str) -> Job:
    wait_until(lambda: not job(connection, id_).is_open, JOB_SECONDS_MAX, "the end of the job")
    return job(connection, id_)


def said(it: Job) -> str:
    assert it.result is not None
    return str(it.result["said"])


def parked_users(database_url: str, number: int) -> list[str]:
    """So many users, each parked at the second of three events."""
    streams = [f"user-{new_id()}" for _ in range(number)]
    for at, name in enumerate(streams):
        mail = f"{at}@example.org"
        events = [new_event(name, 1, UserRegistered("Ada", mail, mail, None))]
        events += [new_event(name, version, UserChanged(f"Ada {version}", None)) for version in (2, 3)]
        events[1] = events[1]._replace(type="UserTeleported")
        append_events(database_url, events)
    sweep(database_url)
    return streams


def mend(connection: Connection) -> None:
    connection.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
    connection.execute("UPDATE log.events SET type = 'UserChanged' WHERE type = 'UserTeleported'")
    connection.execute("ALTER TABLE log.events ENABLE ALWAYS TRIGGER refuse_rewriting")


def group_of(connection: Connection, kind: str, reason: str | None = None) -> Wanted:
    from projector.parked import groups

    (found,) = groups(connection, PROJECTIONS)
    return Wanted(
        "retry" if kind == "retry" else "skip",
        found.projection,
        type=found.type,
        error=found.error,
        streams=found.streams,
        reason=reason,
    )


def test_a_replay_and_a_verify_run_and_record_their_results(
    database_url: str, connection: Connection, runner: Runner
) -> None:
    append_events(
        database_url, [new_event(f"user-{new_id()}", 1, UserRegistered("Ada", "a@b.example", "a@b.example", None))]
    )
    sweep(database_url)
    replayed = ended(connection, ask(database_url, Wanted("replay", "shop", reason="to see")))
    assert (replayed.state, replayed.asked_by, replayed.reason, replayed.attempts) == ("done", "cli 1000", "to see", 1)
    assert "shop was rebuilt from" in said(replayed)
    assert "1 rows equal the fold" in said(ended(connection, ask(database_url, Wanted("verify", "shop"))))
    connection.execute("UPDATE shop.users SET name = 'Bea'")
    wrong = ended(connection, ask(database_url, Wanted("verify", "shop")))
    assert wrong.result is not None
    assert not wrong.result["is_well"]
    (difference,) = wrong.result["differences"]
    assert (difference["column"], difference["stands"], difference["should_be"]) == ("name", "Bea", "Ada")


def test_the_audit_records_the_operator_and_the_reason(database_url: str, connection: Connection) -> None:
    id_ = ask(database_url, Wanted("replay", "sales", reason="the sums looked wrong"))
    rows = connection.execute("SELECT data, metadata->'actor' FROM log.events WHERE type = 'OperatorActed'").fetchall()
    assert rows == [
        ({"act": "replay.requested", "target": f"sales, job {id_}", "reason": "the sums looked wrong"}, ACTOR)
    ]


def test_a_group_is_retried_when_its_cause_is_mended(database_url: str, connection: Connection, runner: Runner) -> None:
    parked_users(database_url, 3)
    still = ended(connection, ask(database_url, group_of(connection, "retry")))
    assert "3 are parked still" in said(still)
    wanted = group_of(connection, "retry")
    mend(connection)
    assert "3 of 3 streams are projected again" in said(ended(connection, ask(database_url, wanted)))
    assert connection.execute("SELECT DISTINCT name FROM shop.users").fetchall() == [("Ada 3",)]


def test_a_skip_leaves_out_the_event_that_was_seen_and_no_later_one(
    database_url: str, connection: Connection, runner: Runner
) -> None:
    (stream,) = parked_users(database_url, 1)
    wanted = Wanted("skip", "shop", stream, at_position=2, reason="a mistake")
    assert "1 of 1 streams" in said(ended(connection, ask(database_url, wanted)))
    assert connection.execute("SELECT position, reason, skipped_by FROM log.skips").fetchall() == [
        (2, "a mistake", "cli 1000")
    ]
    assert "no longer parked at position 2" in said(ended(connection, ask(database_url, wanted)))


def test_a_group_that_has_grown_is_not_skipped(database_url: str, connection: Connection, runner: Runner) -> None:
    parked_users(database_url, 2)
    wanted = group_of(connection, "skip", "a test")._replace(streams=1)
    refused = ended(connection, ask(database_url, wanted))
    assert (refused.state, said(refused)) == (
        "failed",
        "the group had 1 streams when this was asked for, and has 2 now",
    )
    assert connection.execute("SELECT count(*) FROM log.skips").fetchone() == (0,)


def test_a_skip_of_a_group_that_a_worker_left_is_not_done_again(database_url: str, connection: Connection) -> None:
    parked_users(database_url, 2)
    id_ = ask(database_url, group_of(connection, "skip", "a test"))
    table.claim(connection, "a worker that dies")
    with running(database_url):
        assert "the worker ended in the middle" in said(ended(connection, id_))
    assert connection.execute("SELECT count(*) FROM log.skips").fetchone() == (0,)


def test_a_job_that_ends_its_workers_again_and_again_fails(database_url: str, connection: Connection) -> None:
    id_ = ask(database_url, Wanted("verify", "shop"))
    for _ in range(ATTEMPTS_MAX):
        table.claim(connection, "a worker that dies")
    with running(database_url):
        failed = ended(connection, id_)
    assert failed.state == "failed"
    assert "workers ended in the middle" in said(failed)


def test_a_job_of_a_projection_that_is_being_verified_says_so(
    database_url: str, connection: Connection, runner: Runner
) -> None:
    from projector.projections.shop import SHOP
    from projector.shadow import only_one

    with only_one(connection, SHOP):
        failed = ended(connection, ask(database_url, Wanted("replay", "shop")))
    assert failed.state == "failed"
    assert "another replay or verify of shop is running" in said(failed)


def test_two_runners_run_each_job_once(database_url: str, connection: Connection) -> None:
    ids = [ask(database_url, Wanted("verify", "activity")) for _ in range(4)]
    with running(database_url), running(database_url):
        assert [ended(connection, it).attempts for it in ids] == [1, 1, 1, 1]


def test_a_job_that_lost_its_connection_is_taken_up_again(database_url: str, connection: Connection) -> None:
    with running(database_url):
        first = ended(connection, ask(database_url, Wanted("verify", "sales")))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orders jobs' "
            "AND datname = current_database()"
        )
        assert ended(connection, ask(database_url, Wanted("verify", "sales"))).state == first.state == "done"


@contextmanager
def in_the_middle(database_url: str, connection: Connection) -> Iterator[str]:
    """The id of a rebuild that cannot end: a session reads the tables that it has to replace."""
    append_events(
        database_url, [new_event(f"user-{new_id()}", 1, UserRegistered("Ada", "a@b.example", "a@b.example", None))]
    )
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT FROM shop.checkpoint")
        id_ = ask(database_url, Wanted("replay", "shop"))
        wait_until(lambda: job(connection, id_).done_events is not None, JOB_SECONDS_MAX, "the middle of the rebuild")
        yield id_


def test_another_worker_goes_on_with_the_job_of_one_that_was_killed(
    database_url: str, connection: Connection, tmp_path: Path
) -> None:
    with WorkerProcess(database_url, NO_REDIS, tmp_path) as first:
        with in_the_middle(database_url, connection) as id_:
            first.kill()
            assert job(connection, id_).state == "running"
        with running(database_url):
            done = ended(connection, id_)
    assert (done.state, done.attempts) == ("done", 2)
    assert "rebuilt from 2 events" in said(done)


class running:  # noqa: N801 - read as a verb: with running(url)
    """A runner in this process."""

    def __init__(self, database_url: str) -> None:
        self._runner = Runner(database_url, PROJECTIONS)

    def __enter__(self) -> None:
        self._runner.start()

    def __exit__(self, *_: object) -> None:
        self._runner.stop()
        self._runner.close()


MANY = 4_000


@pytest.mark.parametrize("kind", ["retry", "skip"])
def test_a_job_for_many_parked_streams_takes_little_memory(
    database_url: str, connection: Connection, runner: Runner, kind: table.Kind
) -> None:
    append_unreadable(connection, MANY)
    sweep(database_url)
    (group,) = groups(connection, [SHOP])
    tracemalloc.start()
    try:
        wanted = Wanted(kind, "shop", type=group.type, error=group.error, streams=MANY, reason="nobody needs them")
        outcome = said(ended(connection, ask(database_url, wanted)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert f"0 of {MANY:,} streams are projected again" in outcome
    assert peak < 800 * MANY
