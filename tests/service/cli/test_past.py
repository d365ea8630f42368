"""`orders explain`, and `orders verify --stream`."""

import json
import os
import subprocess
import sys
from decimal import Decimal

import psycopg
import pytest

from tests.builders import Writing, append_parked_user
from tests.service.cli.conftest import Run, one_line, project

NOBODY = "0197c1c2-7d8e-7000-8000-000000000001"


@pytest.fixture
def order(database_url: str) -> str:
    """An order of two lines, some of it cancelled, in the read tables."""
    with Writing(database_url) as writing:
        tea, salt = writing.product(sku="tea", price=Decimal("2.50")), writing.product(sku="salt")
        user = writing.user(name="Ada", email="Ada@Example.org", external_id="customer-1")
        order = writing.order(user, {tea: 2, salt: 1}, external_id="web-4711")
        writing.cancel(order, {1: 1}, "too many")
        writing.change_product(tea, "Assam", Decimal(3))
    project(database_url)
    return order


def execute(database_url: str, statement: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_explain_names_the_event_that_set_each_field(run: Run, order: str) -> None:
    done = run("explain", f"orders/{order}")
    assert done.returncode == 0, done.stderr
    title, heading, *lines = done.stdout.splitlines()
    assert title == f"order-{order}: version 2 of 2"
    assert heading.split() == ["field", "value", "set", "by", "occurred", "at", "actor", "request"]
    told = {line.split()[0]: line for line in lines}
    assert "partially_cancelled" in told["status"]
    assert "v2 OrderLinesCancelled" in told["status"]
    assert "v1 OrderPlaced" in told["total"]
    assert "v1 OrderPlaced" in told["items.2.cancelled_quantity"]
    assert "v2 OrderLinesCancelled" in told["items.1.cancelled_quantity"]


def test_explain_shows_the_versions_before_an_unreadable_event_and_names_it(run: Run, database_url: str) -> None:
    stream = append_parked_user(database_url)
    project(database_url)
    done = run("explain", stream)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{stream}: version 1 of 2\n")
    assert "v1 UserRegistered" in done.stdout
    assert done.stderr == (
        f"orders: event 2 (UserMerged, version 2 of {stream}) cannot be read: UserMerged version 1 is not known "
        "to this release; orders events --after 1 --limit 1 prints it; see orders parked; the above is of version 1\n"
    )
    assert run("events", "--after", "1", "--limit", "1").stdout.split()[2:5] == [stream, "2", "UserMerged"]
    assert "cannot be read" in one_line(run("explain", stream, "--version", "2"), 1)
    assert run("explain", stream, "--version", "1").returncode == 0
    assert run("parked", "skip", stream, "--reason", "not needed").returncode == 0
    assert run("explain", stream).stdout.startswith(f"{stream}: version 2 of 2\n")
    assert run("verify", "--stream", stream).returncode == 0


def test_a_position_that_is_too_large_is_one_line(run: Run) -> None:
    assert "a number on the command line is too large: " in one_line(run("events", "--after", str(2**63)), 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("events", "--stream", "\udcff"),
        ("keys", "revoke", "Ab12Cd34", "--reason", "\udcff"),
        ("jobs", "start", "verify", "shop", "--reason", "\udcff"),
    ],
)
def test_an_argument_that_is_not_utf_8_is_one_line(run: Run, arguments: tuple[str, ...]) -> None:
    assert "is not UTF-8 text" in one_line(run(*arguments), 2)


def test_a_terminal_that_lacks_a_character_shows_it_as_an_escape(database_url: str) -> None:
    with Writing(database_url) as writing:
        user = writing.user(name="Jürgen")
    command = [sys.executable, "-P", "-m", "service.cli", "explain", f"users/{user}"]
    environment = {"PATH": os.defpath, "DATABASE_URL": database_url, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "J\\xfcrgen" in done.stdout


@pytest.mark.parametrize(
    ("resource", "kind"),
    [
        ("web-4711", "order"),
        ("tea", "product"),
        ("ada@EXAMPLE.org", "user"),
        ("customer-1", "user"),
    ],
)
def test_a_resource_is_found_by_the_keys_that_people_know(run: Run, order: str, resource: str, kind: str) -> None:
    document = json.loads(run("explain", resource, "--json").stdout)
    assert document["stream"].startswith(f"{kind}-")
    id_ = document["stream"].removeprefix(f"{kind}-")
    for other in (f"{kind}s/{id_}", f"/{kind}s/{id_.upper()}", document["stream"], id_):
        assert json.loads(run("explain", other, "--json").stdout) == document


def test_explain_shows_the_past_and_the_changes_since(run: Run, order: str, database_url: str) -> None:
    then = json.loads(run("explain", "web-4711", "--version", "1", "--json").stdout)
    assert (then["version"], then["last"]) == (1, 2)
    assert {it["field"]: it["value"] for it in then["data"]}["status"] == "placed"
    with psycopg.connect(database_url) as connection:
        query = "SELECT recorded_at FROM log.events WHERE stream = %s AND version = 1"
        ((time,),) = connection.execute(query, [f"order-{order}"]).fetchall()
    as_of = time.isoformat()
    assert json.loads(run("explain", "web-4711", "--as-of", as_of, "--json").stdout) == then

    done = run("explain", "web-4711", "--version", "1", "--diff")
    title, heading, *lines = done.stdout.splitlines()
    assert title == f"order-{order}: version 1, and now, version 2"
    assert heading.split() == ["field", "then", "now", "set", "by", "actor"]
    told = {line.split()[0]: line.split()[1:3] for line in lines}
    assert told["status"] == ["placed", "partially_cancelled"]
    assert told["items.1.cancelled_quantity"] == ["0", "1"]
    assert "total" not in told
    assert run("explain", "web-4711", "--diff").stdout == done.stdout, "alone: what the last event changed"
    changes = json.loads(run("explain", "web-4711", "--version", "1", "--diff", "--json").stdout)["changes"]
    assert {it["field"] for it in changes} == set(told)
    assert run("explain", "web-4711", "--version", "2", "--diff").stdout.endswith("nothing has changed since\n")


def test_a_wrong_time_gets_no_advice_on_urls(run: Run, order: str) -> None:
    said = one_line(run("explain", order, "--as-of", "2026-11-22 13:51:00"), 2)
    assert said == "orders: --as-of must be an RFC 3339 time with a zone, such as 2026-11-22T13:51:00Z\n"


def test_a_question_that_cannot_be_answered_is_one_line(run: Run, order: str, database_url: str) -> None:
    for arguments in (
        ["web-4711", "--version", "1", "--as-of", "2026-01-01T00:00:00Z"],
        ["web-4711", "--as-of", "yesterday"],
        ["web-4711", "--as-of", "2999-01-01T00:00:00Z"],
        ["web-4711", "--version", "2147483648"],
    ):
        one_line(run("explain", *arguments), 2)
    for arguments, reason in (
        (["nonsense"], "there is no order, user or product 'nonsense'"),
        ([f"orders/{NOBODY}"], "there is no order"),
        (["orders/x"], "there is no order"),
        (["\udcff"], "there is no order, user or product '\\udcff'"),
        (["web-4711", "--version", "3"], "has no version 3: its last one is 2"),
        (["web-4711", "--as-of", "2001-01-01T00:00:00Z"], "did not exist yet"),
    ):
        assert reason in one_line(run("explain", *arguments), 1)
    with Writing(database_url) as writing:
        writing.product(sku="web-4711")
    assert "names more than one: orders/" in one_line(run("explain", "web-4711"), 1)


def test_a_database_without_tables_or_out_of_reach_is_one_line(run: Run, empty_database_url: str) -> None:
    assert "orders migrate" in one_line(run("explain", "x", DATABASE_URL=empty_database_url), 1)
    nowhere = "postgresql://orders@127.0.0.1:1/orders"
    for command in (["explain", "x"], ["verify", "--stream", f"order-{NOBODY}"]):
        assert "PostgreSQL: " in one_line(run(*command, DATABASE_URL=nowhere), 1)


def test_a_stream_that_is_right_is_proved_right(run: Run, order: str) -> None:
    done = run("verify", "--stream", f"order-{order}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"shop: no difference between order-{order} and its rows, at version 2 of 2 (rows: orders 1, order_items 2)\n"
    )
    document = json.loads(run("verify", "shop", "--stream", f"order-{order}", "--json").stdout)
    assert (document["equal"], document["projections"][0]["differences"]) == (True, [])


def test_each_column_of_a_stream_that_differs_is_named(run: Run, order: str, database_url: str) -> None:
    execute(database_url, "UPDATE shop.orders SET status = 'placed', cancel_reason = NULL")
    done = run("verify", "--stream", f"order-{order}")
    assert done.returncode == 1
    heading, status, reason, said, hint = done.stdout.splitlines()
    assert heading.split() == ["table", "row", "column", "stands", "should", "be"]
    assert status.split() == ["orders", order, "status", "placed", "partially_cancelled"]
    assert reason.split() == ["orders", order, "cancel_reason", "null", "too", "many"]
    assert said.startswith("shop: 2 differences between ")
    assert hint == "rebuild them with: orders replay shop"
    broken = run("verify", "--stream", f"order-{order}", "--json")
    assert broken.returncode == 1
    assert [it["column"] for it in json.loads(broken.stdout)["projections"][0]["differences"]] == [
        "status",
        "cancel_reason",
    ]


def test_rows_that_lag_behind_are_called_behind_and_not_different(run: Run, order: str, database_url: str) -> None:
    with Writing(database_url) as writing:
        writing.cancel(order)
    done = run("verify", "--stream", f"order-{order}")
    assert done.returncode == 0
    assert "at version 2 of 3" in done.stdout
    assert "shop: 1 of its events are not projected yet: orders status" in done.stdout


def test_a_stream_that_there_is_not_is_one_line(run: Run, order: str) -> None:
    assert f"there is no stream order-{NOBODY}" in one_line(run("verify", "--stream", f"order-{NOBODY}"), 1)
    for stream in ("nonsense", f"sale-{NOBODY}", "order-1", f"Order-{NOBODY}"):
        assert "is no stream" in one_line(run("verify", "--stream", stream), 2)
    assert "leave --stream out" in one_line(run("verify", "sales", "--stream", f"order-{order}"), 2)
