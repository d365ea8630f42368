"""What docs/reliability.md says of backups, done as it stands there, on a service that is being written to."""

import os
import random
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import psycopg

from projector.loop import Loop
from service.embedded import PostgresServer, postgres_program
from service.embedded.account import account_for
from service.projections import PROJECTIONS
from tests.access.keyed import new_key
from tests.builders import wait_until
from tests.chance import chosen_seed
from tests.checker.check import assert_nothing_wrong
from tests.checker.history import Attempt, History, Outcome
from tests.checker.shopper import Shopper
from tests.docs.walking import ROOT, blocks
from tests.projecting import projected
from tests.served import served
from tests.system.buyers import Buyers
from tests.system.stack import Stack

PAGE = "docs/reliability.md"
COMMAND_SECONDS_MAX = 120
CAUGHT_UP_SECONDS_MAX = 10
ORDERS_CANCELLED_MAX = 20
ARCHIVED_SECONDS_MAX = 30
EXAMPLES = {"moment": "2026-11-22 14:50:12.690+00", "aside": "postgres.before"}
ARCHIVE = "### To any moment: base backup and archive"
RESTORE = "### Restore to a moment"


class Moment(NamedTuple):
    """A moment by PostgreSQL's clock, and by ours a little earlier and a little later."""

    before: float
    time: str
    after: float


class Operator:
    """Types the page's commands; each path that the page names is one of ours."""

    def __init__(self, backups: Path, data_dir: Path, **variables: str) -> None:
        backups.mkdir(exist_ok=True)
        self._backups = backups
        self._paths = {"/srv/backups": str(backups), "/srv/orders": str(data_dir)}
        programs = [postgres_program("psql").parent, Path(sys.executable).parent]
        path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        self._environment = {"PATH": path, "LC_ALL": "C.UTF-8"} | variables
        self._postgres = account_for(data_dir / "postgres").user
        for place in (backups, data_dir) if self._postgres else ():
            os.chown(place, *self._postgres)

    def does(self, heading: str, number: int = 0, *, as_postgres: bool = False, **instead: str) -> None:
        """Run a block of commands under one of the page's headings, perhaps as the user that PostgreSQL runs as.

        `instead` names what is to stand in place of one of the page's EXAMPLES.
        """
        _, _, rest = (ROOT / PAGE).read_text().partition(f"\n{heading}\n")
        commands = blocks(re.split(r"^##* ", rest, maxsplit=1, flags=re.MULTILINE)[0], "sh")[number][1]
        for name, other in instead.items():
            assert EXAMPLES[name] in commands
            commands = commands.replace(EXAMPLES[name], other)
        for shown, ours in self._paths.items():
            commands = commands.replace(shown, ours)
        user, group = (as_postgres and self._postgres) or (None, None)
        done = subprocess.run(
            ["sh", "-euc", commands],
            env=self._environment,
            cwd=self._backups,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
            user=user,
            group=group,
            extra_groups=[] if user else None,
        )
        assert done.returncode == 0, commands + done.stdout + done.stderr


def now(database_url: str) -> Moment:
    with psycopg.connect(database_url) as connection:
        before = time.monotonic()
        row = connection.execute("SELECT clock_timestamp()::text").fetchone()
        assert row is not None
        return Moment(before, row[0], time.monotonic())


def as_of(history: History, before: float, after: float, prefix: str) -> History:
    """What the senders knew at a moment between `before` and `after`. New commands get the prefix."""
    then = History(prefix)
    for tag, command in history.commands.items():
        attempts = [_as_of(attempt, before) for attempt in command.attempts if attempt.sent_at < after]
        if attempts:
            then.commands[tag] = replace(command, attempts=attempts)
    return then


def _as_of(attempt: Attempt, before: float) -> Attempt:
    known = attempt.ended_at <= before or attempt.outcome is Outcome.REJECTED
    return attempt if known else Attempt(attempt.sent_at, attempt.ended_at, Outcome.UNKNOWN)


def orders_of(history: History) -> list[str]:
    """The orders that are known to be there."""
    placed = [it for it in history.commands.values() if it.kind == "place-order" and it.acknowledged]
    return [it.acknowledged[0].body["id"] for it in placed]


def go_on(history: History, url: str) -> None:
    """Commands about what was there before."""
    with Shopper(history, url) as shopper:
        for order in orders_of(history)[:ORDERS_CANCELLED_MAX]:
            cancelled = shopper.persist("POST", f"/orders/{order}/cancel", {}, f"go-on-{order}")
            assert cancelled.outcome is Outcome.ACKNOWLEDGED


def test_every_moment_can_be_restored_and_the_service_goes_on_from_there(tmp_path: Path, is_long: bool) -> None:
    seed = chosen_seed()
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    with Stack(tmp_path) as stack:
        operator = Operator(tmp_path / "backups", stack.postgres.data_dir, DATABASE_URL=stack.database_url)
        operator.does(ARCHIVE, 0, as_postgres=True)
        stack.postgres.stop()
        stack.postgres.start()
        stack.wait_until_ready()
        moments = []
        with Buyers(stack.urls, seed, pause=0.0 if is_long else 0.05) as buyers:
            operator.does(ARCHIVE, 1, as_postgres=True)
            for _ in range(5 if is_long else 2):
                time.sleep(chance.uniform(0.3, 1.0))
                moments.append(now(stack.database_url))
            time.sleep(0.5)
        ((segment,),) = stack.rows("SELECT pg_walfile_name(pg_current_wal_lsn())")
        operator.does(ARCHIVE, 2)
        last = tmp_path / "backups" / "wal" / str(segment)
        wait_until(last.exists, ARCHIVED_SECONDS_MAX, "the last of the log in the archive")
        chance.shuffle(moments)  # so that one comes back that was undone
        for number, moment in enumerate(moments):
            stack.postgres.stop()
            operator.does(RESTORE, 0, as_postgres=True, moment=moment.time, aside=f"before-{number}")
            stack.postgres.start()
            history = as_of(buyers.history, moment.before, moment.after, prefix=f"restored-{number}-")
            assert orders_of(history)
            # The same API and worker as before go on, from what is there now.
            stack.wait_until_ready()
            assert_nothing_wrong(stack.database_url, history)
            go_on(history, stack.urls[0])
            stack.wait_until_caught_up()
            assert_nothing_wrong(stack.database_url, history)
        operator.does(RESTORE, 1)


def test_a_dump_is_restored_into_a_new_server_and_the_service_goes_on_from_there(
    database_url: str, tmp_path: Path
) -> None:
    with PostgresServer(tmp_path / "new") as new, served(database_url) as shop, projected(database_url):
        with psycopg.connect(new.url, autocommit=True) as connection:
            for name in ("whole", "smaller"):
                connection.execute(f"CREATE DATABASE {name}".encode())
        whole, smaller = (
            Operator(tmp_path / "backups", new.data_dir, DATABASE_URL=database_url, NEW_DATABASE_URL=new.url_of(name))
            for name in ("whole", "smaller")
        )
        with Buyers([str(shop.http.base_url)], seed=1, pause=0.02) as buyers:
            wait_until(lambda: len(orders_of(buyers.history)) > 15, COMMAND_SECONDS_MAX, "some orders")
            new_key(database_url, "staff")
            keys = keys_and_version(database_url)
            assert keys == (1, 1)
            began = time.monotonic()
            whole.does("### A dump")
            smaller.does("### A smaller dump", 0)
            ended = time.monotonic()
            assert "TABLE DATA shop orders" in contents_of(tmp_path / "backups" / "orders.dump")
            assert "TABLE DATA shop order" not in contents_of(tmp_path / "backups" / "smaller.dump")
            dumped = shop.head()
            wait_until(lambda: shop.head() > dumped + 20, COMMAND_SECONDS_MAX, "more than is in the dumps")
        whole.does("### Restore a dump", 0)
        whole.does("### Restore a dump", 1)
        smaller.does("### A smaller dump", 1)
        for name, operator in (("whole", whole), ("smaller", smaller)):
            url = new.url_of(name)
            number, version = keys_and_version(url)
            assert number == keys[0]
            new_key(url, "staff")
            assert keys_and_version(url) == (number + 1, version + 1)  # else no API process would see that key
            history = as_of(buyers.history, began, ended, prefix=f"{name}-")
            assert_nothing_wrong(url, history)
            with served(url) as restored, projected(url):
                go_on(history, str(restored.http.base_url))
                wait_until(lambda url=url: lag(url) == 0, CAUGHT_UP_SECONDS_MAX, "the projection to go on")  # type: ignore[misc]
                operator.does("### Restore a dump", 2)
            assert_nothing_wrong(url, history)


def keys_and_version(database_url: str) -> tuple[int, int]:
    """How many API keys there are, and the version by which API processes see that they have changed."""
    with psycopg.connect(database_url) as connection:
        query = b"SELECT (SELECT count(*) FROM access.api_keys), version FROM access.api_keys_version"
        ((number, version),) = connection.execute(query).fetchall()
        return number, version


def contents_of(dump: Path) -> str:
    """What the file of a dump holds, a line for each object."""
    program = postgres_program("pg_restore")
    listed = subprocess.run([program, "--list", dump], capture_output=True, text=True, check=True)
    return listed.stdout


def lag(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        return max(Loop(projection).look(connection).lag for projection in PROJECTIONS)
