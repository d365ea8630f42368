import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import psycopg
import pytest

from projector import bell
from projector.checkpoint import WORKER
from projector.connecting import connect
from projector.projections.shop import SHOP
from projector.shadow import Shadow, only_one
from projector.writer import PostgresWriter
from service.cli.log import EVENTS_SHOWN
from tests.builders import Writing
from tests.service.cli.conftest import Run, one_line, project

NO_REDIS = "redis://127.0.0.1:1/0"


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    # Not splitlines(), which takes more for the end of a line than a newline.
    return done.stdout.removesuffix("\n").split("\n") if done.stdout else []


@pytest.fixture
def ada(database_url: str, shop: Writing) -> str:
    """The last user: registered, renamed, deleted."""
    user_id = shop.user(name="Zoë \u202e\x85 東京")
    shop.change_user(user_id, "Ada", "ada@example.org")
    shop.delete_user(user_id)
    return f"user-{user_id}"


def test_events_are_printed_in_order(run: Run, ada: str) -> None:
    printed = lines(run("events"))
    positions = [int(line.split()[0]) for line in printed]
    assert positions == list(range(1, len(printed) + 1))
    assert printed[-1].split()[2:] == [ada, "3", "UserDeleted", "{}"]
    assert '"name":"Zoë \\u202e\\x85 東京"'.replace("\\x85", "\\u0085") in printed[-3]


def test_events_are_a_json_object_a_line(run: Run, ada: str) -> None:
    printed = [json.loads(line) for line in lines(run("events", "--json", "--limit", "0"))]
    assert [event["position"] for event in printed] == list(range(1, len(printed) + 1))
    assert set(printed[-3]) == {
        "position", "stream", "version", "type", "schema_version", "occurred_at", "recorded_at", "data",
    }  # fmt: skip
    assert printed[-3]["data"]["name"] == "Zoë \u202e\x85 東京"


def test_a_stream_is_printed_from_a_version_on(run: Run, ada: str) -> None:
    printed = lines(run("events", "--stream", ada, "--after", "1"))
    assert [line.split()[3:5] for line in printed] == [["2", "UserChanged"], ["3", "UserDeleted"]]


def test_a_listing_says_that_it_left_events_out(run: Run, shop: Writing) -> None:
    done = run("events", "--after", "3", "--limit", "2")
    assert [line.split()[0] for line in lines(done)] == ["4", "5"]
    assert done.stderr == "there is more: orders events --after 5\n"
    for _ in range(EVENTS_SHOWN):
        shop.user()
    done = run("events")
    assert len(lines(done)) == EVENTS_SHOWN
    assert done.stderr == f"there is more: orders events --after {EVENTS_SHOWN}\n"
    everything = run("events", "--limit", "0")
    assert len(lines(everything)) > EVENTS_SHOWN
    assert everything.stderr == ""


def test_events_of_types_are_printed_and_the_rest_is_offered(run: Run, ada: str) -> None:
    whole = lines(run("events", "--limit", "0"))
    wanted = [it for it in whole if it.split()[4] in {"UserRegistered", "UserDeleted"}]
    assert len(wanted) > 3
    types = ("--type", "UserRegistered", "--type", "UserDeleted")
    assert lines(run("events", *types)) == wanted
    first = run("events", *types, "--limit", "2")
    assert lines(first) == wanted[:2]
    behind = wanted[1].split()[0]
    offer = f"there is more: orders events --type UserRegistered --type UserDeleted --after {behind}\n"
    assert first.stderr == offer
    assert lines(run("events", *types, "--after", behind)) == wanted[2:]
    assert [it.split()[3] for it in lines(run("events", "--stream", ada, "--type", "UserDeleted"))] == ["3"]


def test_events_since_a_time_are_printed(run: Run, ada: str, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE log.events DISABLE TRIGGER USER")
        connection.execute(
            "UPDATE log.events SET recorded_at = recorded_at - interval '2 hours' WHERE position <= "
            "(SELECT position - 2 FROM log.head)"
        )
        query = "SELECT recorded_at FROM log.events ORDER BY position DESC LIMIT 1 OFFSET 1"
        ((since,),) = connection.execute(query).fetchall()
    whole = lines(run("events", "--limit", "0"))
    for arguments in (("--since", "1h"), ("--since", since.isoformat()), ("--since", "60min", "--after", "3")):
        assert lines(run("events", *arguments)) == whole[-2:]
    assert lines(run("events", "--since", "3h", "--limit", "0")) == whole
    assert lines(run("events", "--since", "1h", "--stream", ada)) == whole[-2:]
    assert lines(run("events", "--since", "1h", "--type", "UserDeleted")) == whole[-1:]
    assert lines(run("events", "--since", "0h")) == []


@pytest.mark.parametrize("time", ["yesterday", "1", "-1h", "2026-13-01", "9999-12-31T23:59:59-12:00"])
def test_an_invalid_time_is_refused_with_an_example(run: Run, time: str) -> None:
    said = one_line(run("events", f"--since={time}"), 2)
    assert "write 2026-11-22T13:51:00Z, or 12h for so long ago" in said


def test_an_unknown_event_type_is_refused_and_the_known_ones_are_listed(run: Run) -> None:
    said = one_line(run("events", "--type", "OrderPlacd"), 1)
    assert "there is no event type OrderPlacd; this release knows OperatorActed, OrderCancelled, " in said


def test_a_stream_that_is_not_there_is_said(run: Run) -> None:
    done = run("events", "--stream", "order-none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "orders: there is no stream order-none\n"


def test_an_empty_log_is_printed_as_nothing(run: Run) -> None:
    assert lines(run("events")) == []


@pytest.mark.parametrize("arguments", [("--after", "-1"), ("--after", "x"), ("--limit", "-1"), ("--stream",)])
def test_misuse_ends_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("events", *arguments).returncode == 2


def test_status_tells_how_things_stand(run: Run, shop: Writing, database_url: str, redis_url: str) -> None:
    listening = bell.Listener(redis_url)
    listening.heard(0.2)
    for _ in range(3):
        shop.user()

    document = json.loads(run("status", "--json", REDIS_URL=redis_url).stdout)
    projection = document["projections"][0]
    with psycopg.connect(database_url) as connection:
        log_uuid, head = connection.execute("SELECT log_uuid::text, position FROM log.head").fetchone() or ()
    assert document["log"]["log_uuid"] == log_uuid
    assert document["log"]["head"] == projection["head"] == head
    assert (projection["name"], projection["position"], projection["lag_events"]) == ("shop", head - 3, 3)
    assert projection["lag_ms"] > 0
    assert projection["worker"] == WORKER
    assert projection["error"] is None
    assert document["workers"] == [WORKER]

    project(database_url)
    printed = "\n".join(lines(run("status", REDIS_URL=redis_url)))
    assert f"log {log_uuid}: head at position {head}, appended " in printed
    assert f"by {WORKER}" in printed
    assert "live" in printed
    assert "workers that listen to Redis: " in printed


def test_status_tells_why_nothing_is_projected(run: Run, shop: Writing, database_url: str) -> None:
    with connect(database_url) as connection:
        PostgresWriter(SHOP).report(connection, "DiskFull: it fell")
    assert "shop: DiskFull: it fell" in lines(run("status"))
    projection = json.loads(run("status", "--json").stdout)["projections"][0]
    assert projection["error"].endswith("it fell")


def test_status_tells_the_differences_that_a_verify_found_and_points_to_the_doctor(
    run: Run, shop: Writing, database_url: str
) -> None:
    with connect(database_url) as connection:
        connection.execute(
            "INSERT INTO log.verifications VALUES ('shop', (SELECT generation FROM shop.checkpoint), 7, 2, now())"
        )
    told = lines(run("status"))
    found = "the last verify of shop found 2 differences between the tables and the log, at position 7"
    assert found in told
    assert "what to do: orders doctor --quick" in told
    assert json.loads(run("status", "--json").stdout)["findings"] == [found]


def test_status_tells_that_a_worker_is_missing_and_that_a_replay_runs(
    run: Run, shop: Writing, database_url: str
) -> None:
    with connect(database_url) as connection:
        connection.execute("UPDATE shop.checkpoint SET seen_at = seen_at - interval '1 hour'")
        assert states(run)[0] == "stopped"
        with only_one(connection, SHOP), Shadow(connection, SHOP, "shop_next"):
            assert states(run)[0] == "rebuilding"
            assert "rebuilding, 0%" in run("status").stdout
        with only_one(connection, SHOP):
            assert states(run)[0] == "stopped", "a verify is no replay"


def test_status_tells_a_reason_that_projections_share_once(run: Run, shop: Writing, database_url: str) -> None:
    with connect(database_url) as connection:
        # One worker drives all of them, and has looked at some a second later.
        for number, name in enumerate(("shop", "sales", "activity"), 3601):
            connection.execute(
                f"UPDATE {name}.checkpoint SET seen_at = now() - interval '{number} s', worker = 'shop-7:1'"
            )
    (told,) = [line for line in lines(run("status")) if "no worker has looked" in line]
    assert told.startswith("shop, sales, activity: no worker has looked at the log for 36")


def states(run: Run) -> list[str]:
    return [it["state"] for it in json.loads(run("status", "--json").stdout)["projections"]]


def test_without_redis_status_says_so_and_tells_the_rest(run: Run, shop: Writing) -> None:
    assert lines(run("status"))[-1] == "workers that listen to Redis: REDIS_URL is not set"
    assert lines(run("status", REDIS_URL=NO_REDIS))[-1] == "workers that listen to Redis: not known"
    (told,) = [line for line in lines(run("status", REDIS_URL=NO_REDIS)) if "Redis cannot be reached (" in line]
    assert told.endswith("; no event is lost, but reads may follow commands up to a second later")
    assert "Redis cannot be reached" not in run("status").stdout
    document = json.loads(run("status", "--json", REDIS_URL=NO_REDIS).stdout)
    assert document["workers"] is None
    assert "Redis cannot be reached (" in document["redis_error"]
    assert len(document["projections"]) == 3


@contextmanager
def running(database_url: str, *arguments: str) -> Iterator[IO[str]]:
    """What a command that runs until Ctrl-C prints; it must then end with exit code 0, and with nothing on stderr."""
    environment = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": NO_REDIS}
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert (process.returncode, said) == (0, "")
    finally:
        process.kill()
        process.wait()


def test_followed_events_are_printed_as_they_come(database_url: str, shop: Writing) -> None:
    with running(database_url, "events", "--follow", "--after", "0") as printed:
        assert printed.readline().split()[0] == "1"
        user_id = shop.user()
        assert any(line.split()[2] == f"user-{user_id}" for line in printed)


def test_followed_events_go_on_after_an_outage(database_url: str, shop: Writing) -> None:
    environment = {**os.environ, "DATABASE_URL": database_url}
    command = [sys.executable, "-m", "service.cli", "events", "--follow", "--after", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline().split()[0] == "1"
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orders events'"
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute(f"{end} AND datname = current_database()".encode())
            assert process.stderr.readline().endswith("events go on when it answers, Ctrl-C ends\n")
            user_id = shop.user()
            assert any(line.split()[2] == f"user-{user_id}" for line in process.stdout)
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_a_followed_stream_begins_at_its_end(database_url: str, shop: Writing) -> None:
    user_id = shop.user()
    with running(database_url, "events", "-f", "--json", "--stream", f"user-{user_id}") as printed:
        # The command has no way to say that it is at the end: change until it has seen a change.
        changed = threading.Event()

        def change() -> None:
            with Writing(database_url) as another:
                for number in range(100):
                    another.change_user(user_id, f"Ada {number}", "ada@example.org")
                    if changed.wait(0.2):
                        return

        changing = threading.Thread(target=change)
        changing.start()
        event = json.loads(printed.readline())
        changed.set()
        changing.join()
    assert (event["type"], event["version"] > 1) == ("UserChanged", True)


def test_followed_events_are_of_the_wanted_type_alone(database_url: str, shop: Writing) -> None:
    with running(database_url, "events", "-f", "--type", "UserChanged", "--since", "1h") as printed:
        user_id = shop.user()
        for name in ("Ada", "Eve"):
            shop.change_user(user_id, name, "ada@example.org")
        found = (line for line in printed if line.split()[2] == f"user-{user_id}")
        assert [next(found).split()[3:5] for _ in range(2)] == [["2", "UserChanged"], ["3", "UserChanged"]]


def test_status_watch_prints_an_object_a_line_without_a_terminal(database_url: str, shop: Writing) -> None:
    with running(database_url, "status", "--watch", "--interval", "0.1") as printed:
        looks = [json.loads(printed.readline()) for _ in range(3)]
    assert all(it["log"]["head"] == looks[0]["log"]["head"] > 0 for it in looks)
    assert [it["name"] for it in looks[0]["projections"]] == ["shop", "sales", "activity"]


def test_watched_status_tells_that_the_database_does_not_answer_and_goes_on() -> None:
    with running("postgresql://nobody@127.0.0.1:1/nothing", "status", "--watch", "--interval", "0.1") as printed:
        first, second = (json.loads(printed.readline()) for _ in range(2))
    assert first["error"].startswith("PostgreSQL: ")
    assert second["error"].startswith("PostgreSQL: ")


def test_watched_status_is_a_frame_on_a_terminal_and_q_ends_it(database_url: str, shop: Writing) -> None:
    ours, terminal = pty.openpty()
    environment = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": NO_REDIS, "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-m", "service.cli", "status", "--watch", "--interval", "60"]
    process = subprocess.Popen(command, env=environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    try:
        while b"q quit" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, b"q")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    text = shown.decode(errors="replace")
    assert "orders status" in text
    assert "activity" in text
    assert "what to do: orders doctor --quick" in text
