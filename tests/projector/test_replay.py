import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from psycopg import Connection
from psycopg.errors import LockNotAvailable

from projector import replay as replaying
from projector import swapping
from projector.follower import Follower
from projector.loop import Loop, Progress
from projector.paging import PageMax
from projector.projections.shop import SHOP
from projector.replay import SwapRefused, replay
from projector.shadow import Busy, Shadow, building
from projector.verify import verify
from tests.builders import Writing, wait_until
from tests.projector.catalog import described
from tests.projector.read_tables import contents, head, position
from tests.projector.test_loop import ALL

SOON = 10

# Read tables of one age: every order has its items, which add up to its total, and the checkpoint is theirs.
INVARIANT = """
SELECT checkpoint.position, count(orders.id), count(*) FILTER (WHERE orders.total IS DISTINCT FROM (
    SELECT sum(items.amount) FROM shop.order_items AS items WHERE items.order_id = orders.id)),
    (SELECT count(*) FROM shop.users), (SELECT sum(stock) FROM shop.products)
FROM shop.checkpoint AS checkpoint LEFT JOIN shop.orders AS orders ON true
GROUP BY checkpoint.position
"""


def nobody(_: Progress) -> None:
    """Reports go to nobody."""


def schemas(connection: Connection) -> set[str]:
    found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'shop%'").fetchall()
    return {name for (name,) in found}


class Readers:
    """Who reads all the while, and notes what is not as it should be."""

    def __init__(self, database_url: str, number: int = 3) -> None:
        self._database_url = database_url
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in range(number)]
        self.seen: list[tuple[Any, ...]] = []
        self.wrong: list[object] = []
        self.longest_seconds = 0.0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(SOON)

    def _run(self, number: int) -> None:
        try:
            # Prepared or not, a statement finds the tables that serve.
            threshold = 0 if number % 2 else None
            with psycopg.connect(self._database_url, autocommit=True, prepare_threshold=threshold) as connection:
                self._read(connection)
        except psycopg.Error as error:
            self.wrong.append(error)

    def _read(self, connection: Connection) -> None:
        last = (0, 0, 0, 0, None)
        while not self._stopping.is_set():
            started = time.monotonic()
            found = connection.execute(INVARIANT).fetchall()
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
            if len(found) != 1:
                self.wrong.append(found)
                return
            seen = found[0]
            position, orders, incomplete, users, _ = seen
            if incomplete or position < last[0] or orders < last[1] or users < last[3]:
                self.wrong.append((last, seen))
            # At one position there is one state.
            if position == last[0] and seen != last:
                self.wrong.append((last, seen))
            last = seen
            self.seen.append(seen)


@contextlib.contextmanager
def live_projection(database_url: str) -> Iterator[None]:
    """A projector that looks again and again, as a worker's does."""
    projector = Follower(database_url, SHOP)
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            projector.sweep()
            stopping.wait(0.003)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(SOON)
        projector.close()
        assert projector._error is None


@pytest.fixture
def shop(writing: Writing, connection: Connection) -> Writing:
    """A shop with some history, projected."""
    writing.history(orders=40)
    while Loop(SHOP).project(connection, ALL).events:
        pass
    return writing


def test_replayed_tables_are_the_same(shop: Writing, database_url: str, connection: Connection) -> None:
    before = contents(connection)
    reports: list[Progress] = []
    reached = replay(database_url, SHOP, reports.append)
    assert (reached.position, reached.lag) == (head(connection), 0)
    assert contents(connection) == before
    assert schemas(connection) == {"shop"}
    assert reports[0].head == reached.head
    assert max(report.position for report in reports) == reached.position


def test_the_swap_projects_few_events_also_where_few_events_fill_a_batch(shop: Writing, database_url: str) -> None:
    """Readers wait during the swap. As in a log of very large orders, a batch here has few pages of one event."""
    reports: list[Progress] = []
    replay(database_url, SHOP, reports.append, PageMax(events=1))
    *filled, swapped = reports
    assert len(filled) > 2, "the log has more than one batch of events"
    assert (filled[-1].position, filled[-1].lag) == (swapped.position, 0)


def test_replay_heals_whatever_was_done_to_the_tables(shop: Writing, database_url: str, connection: Connection) -> None:
    before = contents(connection)
    connection.execute("UPDATE shop.orders SET total = total + 1, cancelled_total = 0")
    connection.execute("DELETE FROM shop.order_items")
    connection.execute("ALTER TABLE shop.products DROP COLUMN sku")
    connection.execute("DELETE FROM shop.checkpoint")
    replay(database_url, SHOP, nobody)
    assert contents(connection) == before


def test_readers_and_writers_do_not_notice_a_replay(shop: Writing, database_url: str, connection: Connection) -> None:
    with live_projection(database_url), shop.traffic(), Readers(database_url) as readers:
        for _ in range(3):
            swapped_at = replay(database_url, SHOP, nobody)
            assert swapped_at.position <= head(connection)
        behind = head(connection)
        wait_until(lambda: position(connection) >= behind, SOON, "the projection to go on in the new tables")
    assert readers.wrong == []
    assert len({seen[0] for seen in readers.seen}) > 10, "they read while it went on"
    assert readers.longest_seconds < SOON
    Loop(SHOP).project(connection, ALL)
    assert verify(database_url, SHOP, nobody).differences == []


def test_a_swap_never_goes_back_behind_a_position_that_readers_have_seen(
    shop: Writing, database_url: str, connection: Connection, other: Connection
) -> None:
    """What was projected into the old tables after the new ones were filled is there after the swap."""
    late: list[int] = []

    def report(progress: Progress) -> None:
        if not progress.lag and len(late) < 3:
            late.append(progress.position)
            for _ in range(3):
                shop.user()
            while Loop(SHOP).project(other, ALL).events:
                pass

    replay(database_url, SHOP, report)
    assert late
    assert position(connection) == head(connection)


def test_a_replay_that_is_killed_leaves_the_old_tables_serving(
    shop: Writing, database_url: str, connection: Connection, tmp_path: Path
) -> None:
    before, served_at = contents(connection), position(connection)
    # Its last step waits for sessions that use the tables.
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT FROM shop.checkpoint")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.cli", "replay"],
            env={"PATH": os.defpath, "DATABASE_URL": database_url},
            cwd=tmp_path,
        )
        wait_until(lambda: "shop_next" in schemas(connection), 3 * SOON, "the new tables")
        process.send_signal(signal.SIGKILL)
        process.wait(SOON)
    assert schemas(connection) == {"shop", "shop_next"}
    assert (contents(connection), position(connection)) == (before, served_at)

    wait_until(lambda: not rebuilding(connection), SOON, "PostgreSQL to notice")
    assert schemas(connection) == {"shop", "shop_next"}, "no process of the killed replay went on"
    replay(database_url, SHOP, nobody)
    assert schemas(connection) == {"shop"}
    assert contents(connection) == before


def rebuilding(connection: Connection) -> bool:
    """Whether a replay has its lock, or waits for one of the tables."""
    query = (
        "SELECT FROM pg_stat_activity LEFT JOIN pg_locks USING (pid) WHERE datname = current_database() "
        "AND (query LIKE 'LOCK TABLE%' OR locktype = 'advisory')"
    )
    return bool(connection.execute(query).fetchall())


def test_verify_drops_the_tables_that_a_killed_replay_left(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    Shadow(connection, SHOP, "shop_next").__enter__()
    assert schemas(connection) == {"shop", "shop_next"}
    verify(database_url, SHOP, nobody)
    assert schemas(connection) == {"shop"}


def test_of_two_replays_at_once_one_is_refused(shop: Writing, database_url: str, connection: Connection) -> None:
    refused: list[Busy] = []

    def report(_: Progress) -> None:
        if not refused:
            with pytest.raises(
                Busy, match=r"another replay or verify of shop is running \(PostgreSQL process \d+\)"
            ) as busy:
                replay(database_url, SHOP, nobody)
            refused.append(busy.value)

    replay(database_url, SHOP, report)
    assert refused
    assert schemas(connection) == {"shop"}


def test_a_replay_that_fails_leaves_nothing_behind(shop: Writing, database_url: str, connection: Connection) -> None:
    before = contents(connection)

    def no_space(_: Progress) -> None:
        raise psycopg.errors.DiskFull("no space left on device")

    with pytest.raises(psycopg.errors.DiskFull):
        replay(database_url, SHOP, no_space)
    assert schemas(connection) == {"shop"}
    assert contents(connection) == before


def test_a_swap_that_waits_for_a_long_reader_delays_others_only_shortly(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    done: list[Progress] = []
    with psycopg.connect(database_url) as reader, Readers(database_url) as readers:
        reader.execute("SELECT * FROM shop.checkpoint, shop.orders")
        running = threading.Thread(target=lambda: done.append(replay(database_url, SHOP, nobody)))
        running.start()
        wait_until(lambda: refused_once(connection), SOON, "the swap to step back")
        assert not done
        # In the transaction that it has open it goes on reading the tables that it knows.
        assert reader.execute("SELECT count(*) FROM shop.orders").fetchone() == (40,)
        reader.rollback()
        running.join(2 * SOON)
    assert done[0].lag == 0
    assert readers.wrong == []
    assert readers.longest_seconds < SOON / 2
    assert schemas(connection) == {"shop"}


def refused_once(connection: Connection) -> bool:
    """Return whether a swap has timed out and rolled back."""
    found = connection.execute(
        "SELECT FROM pg_stat_activity WHERE application_name = 'orders projector' "
        "AND datname = current_database() AND query LIKE 'ROLLBACK%'"
    )
    return bool(found.fetchall())


def test_a_swap_that_never_gets_its_turn_is_refused(
    shop: Writing, database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swapping, "TRIES_MAX", 2)
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT FROM shop.checkpoint")
        pid = reader.info.backend_pid
        with pytest.raises(SwapRefused, match=rf"in use for too long, by PostgreSQL process {pid};"):
            replay(database_url, SHOP, nobody)
    assert schemas(connection) == {"shop"}
    replay(database_url, SHOP, nobody)


def test_a_prepared_transaction_that_holds_the_tables_is_named(
    shop: Writing, database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction manager left it behind: no process has its locks."""
    monkeypatch.setattr(swapping, "TRIES_MAX", 2)
    name = f"left in {connection.info.dbname}"
    connection.execute(f"BEGIN; SELECT FROM shop.checkpoint; PREPARE TRANSACTION '{name}'".encode())
    try:
        with pytest.raises(SwapRefused, match=f"by the prepared transaction '{name}';"):
            replay(database_url, SHOP, nobody)
    finally:
        connection.execute(f"ROLLBACK PREPARED '{name}'".encode())


def test_a_reader_of_other_tables_does_not_hold_up_the_swap(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    """Nor does autovacuum, whose lock is such a one; the old tables go when it has ended."""
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT FROM shop.users")
        reader.execute("LOCK TABLE shop.orders IN SHARE UPDATE EXCLUSIVE MODE")
        connection.execute("SET lock_timeout = '1s'")
        with building(database_url, SHOP) as builder, Shadow(builder, SHOP, "shop_next") as shadow:
            shadow.fill(nobody)
            replaying._swap(builder, SHOP, shadow)
        assert schemas(connection) == {"shop", "shop_retired"}
        with pytest.raises(LockNotAvailable):
            connection.execute("DROP SCHEMA shop_retired CASCADE")
    replay(database_url, SHOP, nobody)
    assert schemas(connection) == {"shop"}


def test_swapped_tables_are_as_migrated(shop: Writing, database_url: str, connection: Connection) -> None:
    migrated = described(connection, "shop")
    replay(database_url, SHOP, nobody)
    assert described(connection, "shop") == migrated
    replay(database_url, SHOP, nobody)
    assert described(connection, "shop") == migrated


def test_swapped_tables_have_the_grants_of_the_old_ones(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    role = f"reporting_{connection.info.dbname}"
    connection.execute(f'CREATE ROLE "{role}"'.encode())
    try:
        connection.execute(f'GRANT USAGE ON SCHEMA shop TO "{role}", PUBLIC'.encode())
        connection.execute(f'GRANT SELECT ON shop.orders TO "{role}" WITH GRANT OPTION'.encode())
        connection.execute("GRANT SELECT ON shop.products TO PUBLIC")
        before = described(connection, "shop")
        replay(database_url, SHOP, nobody)
        assert described(connection, "shop") == before
        connection.execute(f'SET ROLE "{role}"'.encode())
        assert connection.execute("SELECT count(*) FROM shop.orders").fetchone() == (40,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM shop.users")
    finally:
        connection.execute("RESET ROLE")
        connection.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"'.encode())


def test_swapped_tables_are_known_to_the_planner(shop: Writing, database_url: str, connection: Connection) -> None:
    replay(database_url, SHOP, nobody)
    tables = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r' AND reltuples < 0"
    ).fetchall()
    assert tables == []


def test_an_empty_log_makes_empty_tables(database_url: str, connection: Connection) -> None:
    assert replay(database_url, SHOP, nobody) == Progress(0, 0, 0)
    assert not any(contents(connection).values())
