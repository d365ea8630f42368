import json
import os
import pwd
import socket
import subprocess

import pytest

from eventlog.events import UserChanged, UserDeleted, UserRegistered
from eventlog.ids import new_id
from projector.connecting import connect
from projector.loop import Loop
from projector.projections.shop import SHOP
from service.doctor import examine
from service.embedded.account import name_of
from tests.builders import append_events, new_event
from tests.projecting import sweep
from tests.service.cli.conftest import Run, one_line

# No user has this number.
UNNAMED = 2_147_000_001


@pytest.fixture
def stream(database_url: str) -> str:
    """A user who is parked at the second of three events."""
    name = f"user-{new_id()}"
    events = [new_event(name, 1, UserRegistered("Ada", "ada@example.org", "ada@example.org", None))]
    events += [new_event(name, version, UserChanged(f"Ada {version}", None)) for version in (2, 3)]
    events[1] = events[1]._replace(type="UserTeleported")
    append_events(database_url, events)
    with connect(database_url) as connection:
        Loop(SHOP).project(connection, 100)
    return name


def mend(database_url: str) -> None:
    with connect(database_url) as connection:
        connection.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
        connection.execute("UPDATE log.events SET type = 'UserChanged' WHERE version = 2")
        connection.execute("ALTER TABLE log.events ENABLE ALWAYS TRIGGER refuse_rewriting")


def names(database_url: str) -> list[tuple[str]]:
    with connect(database_url) as connection:
        return connection.execute("SELECT name FROM shop.users").fetchall()


def group_of(run: Run) -> str:
    """The name of the only group."""
    ((group,),) = [[it["group"] for it in json.loads(run("parked", "--json").stdout)["groups"]]]
    return str(group)


def documents(answer: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    data: list[dict[str, object]] = json.loads(answer.stdout)["data"]
    return data


def test_parked_lists_each_stream_with_its_event_error_and_age(run: Run, stream: str) -> None:
    listed = run("parked")
    assert listed.returncode == 0
    for part in (
        stream,
        "UserTeleported",
        "2 events",
        "not known to this release",
        "retry --group GROUP",
        group_of(run),
    ):
        assert part in listed.stdout
    (document,) = documents(run("parked", "--json"))
    assert document.pop("parked_at")
    assert 0 <= float(str(document.pop("age_seconds"))) < 60
    assert document == {
        "projection": "shop",
        "stream": stream,
        "position": 2,
        "version": 2,
        "type": "UserTeleported",
        "error": "UserTeleported version 1 is not known to this release",
        "behind": None,
        "events_held_back": 2,
    }
    status = json.loads(run("status", "--json").stdout)
    assert status["projections"][0]["parked"] == 1
    assert "1 stream is parked: orders parked" in run("status").stdout


def test_a_retry_before_the_cause_is_mended_changes_nothing_and_says_so(
    run: Run, stream: str, database_url: str
) -> None:
    again = run("parked", "retry")
    assert again.returncode == 1
    assert "parked at version 2: UserTeleported version 1 is not known" in again.stdout
    assert names(database_url) == [("Ada",)]


@pytest.mark.parametrize("which", ["all", "one", "group"])
def test_after_the_cause_is_mended_a_retry_projects_the_parked_events(
    run: Run, stream: str, database_url: str, which: str
) -> None:
    group = group_of(run)
    mend(database_url)
    arguments = {"all": [], "one": [stream], "group": ["--group", group]}[which]
    again = run("parked", "retry", *arguments, "--json")
    assert again.returncode == 0
    done = {"projection": "shop", "stream": stream, "events_projected": 2}
    assert documents(again) == [done | {"parked_at_version": None, "error": None}]
    assert names(database_url) == [("Ada 3",)]
    assert run("parked").stdout == "nothing is parked\n"
    assert run("parked", "retry").stdout == "nothing is parked\n"


def test_an_event_is_skipped_with_a_reason_that_is_recorded(run: Run, stream: str, database_url: str) -> None:
    skipped = run("parked", "skip", stream, "--reason", "nobody needs it")
    assert skipped.returncode == 0, skipped.stderr
    assert skipped.stdout.splitlines() == [
        f"shop skips event 2 (UserTeleported, version 2 of {stream})",
        f"{stream} is no longer parked",
    ]
    assert names(database_url) == [("Ada 3",)]
    with connect(database_url) as connection:
        assert connection.execute("SELECT projection, position, reason FROM log.skips").fetchall() == [
            ("shop", 2, "nobody needs it")
        ]
    assert run("verify").returncode == 0


def test_a_skip_names_the_user_of_the_system_also_where_it_has_no_name(
    run: Run, stream: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "somebody-else")
    assert run("parked", "skip", stream, "--reason", "nobody needs it").returncode == 0
    with connect(database_url) as connection:
        assert connection.execute("SELECT skipped_by FROM log.skips").fetchall() == [
            (f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}",)
        ]
    assert name_of(UNNAMED) == str(UNNAMED)


def test_a_group_is_skipped_by_its_name_and_each_skipped_event_is_printed(
    run: Run, stream: str, database_url: str
) -> None:
    group = group_of(run)
    skipped = run("parked", "skip", "--group", group, "--reason", "nobody needs it")
    assert skipped.returncode == 0, skipped.stderr
    assert skipped.stdout == f"shop skips event 2 (UserTeleported, version 2 of {stream})\n"
    assert names(database_url) == [("Ada 3",)]
    for gone in (group, "1"):
        refused = run("parked", "skip", "--group", gone, "--reason", "again")
        assert (
            one_line(refused, 1).strip()
            == f"orders: no group '{gone}' is parked: orders parked lists the groups by name"
        )


def test_the_commands_of_an_earlier_list_hold_after_another_group_was_skipped(run: Run, database_url: str) -> None:
    for number, kind in enumerate(("UserBurnt", "UserFrozen", "UserTeleported")):
        append_events(database_url, [new_event(f"user-{number}", 1, UserDeleted())._replace(type=kind)])
    sweep(database_url)
    with connect(database_url) as connection:
        printed = [it.remedy.rpartition("`orders ")[2] for it in examine(connection).findings["parked"]]
    commands = [remedy.rstrip("`").replace("WHY", "fire").split() for remedy in printed]
    for number, command in enumerate(commands):
        assert run(*command).stdout.splitlines()[0].startswith(f"shop skips event {number + 1} (User")
    assert run("parked").stdout == "nothing is parked\n"


def test_a_stream_that_is_out_because_of_a_skip_is_not_called_parked(run: Run, database_url: str) -> None:
    append_events(database_url, [new_event("user-x", 1, UserDeleted())._replace(type="UserTeleported")])
    sweep(database_url)
    assert "shop: 1 stream is parked" in run("verify").stdout
    skipped = run("parked", "skip", "--group", group_of(run), "--reason", "nobody needs it")
    assert skipped.stdout.splitlines() == [
        "shop skips event 1 (UserTeleported, version 1 of user-x)",
        "1 stream stays out of the read tables: that was its first event",
    ]
    assert run("parked").stdout == "nothing is parked\n"
    verified = run("verify")
    assert verified.returncode == 0
    assert "parked" not in verified.stdout


def test_misuse_fails_with_one_line(run: Run, stream: str) -> None:
    assert "Missing option '--reason'" in run("parked", "skip", stream).stderr
    assert "an argument is empty" in one_line(run("parked", "skip", stream, "--reason", " "), 2)
    assert "more than 1,000 characters" in one_line(run("parked", "skip", stream, "--reason", "a" * 1_001), 2)
    for arguments in ([], [stream, "--group", "1"]):
        assert "give a stream or --group" in one_line(run("parked", "skip", *arguments, "--reason", "why not"), 2)
    for command in (("retry", "user-x"), ("skip", "user-x", "--reason", "why not")):
        assert "user-x is not parked; what is: orders parked" in one_line(run("parked", *command), 1)
