import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from command.importing.run import Stopped
from service.embedded import PostgresServer
from service.migrate import upgrade
from tests.builders import wait_until
from tests.command.importing.test_run import TEA, USER, order

ORDERS = 3_000


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One of its own, durable, to be killed."""
    place = Path(tempfile.mkdtemp(prefix="orders-import-"))
    place.chmod(0o755)
    server = PostgresServer(place)
    server.start()
    upgrade(server.url)
    yield server
    server.stop()
    shutil.rmtree(place)


def test_an_import_that_loses_the_database_says_where_and_is_simply_run_again(server, shop):
    shop.database_url = server.url
    # Every other order is refused, so what one order would let pass, a later one may not take.
    rows = [order(f"{number}", 1 if number % 2 else 1_000_000) for number in range(ORDERS)]
    path = shop.file("shop.jsonl", USER, TEA | {"min_initial_stock": ORDERS}, *rows)

    def kill(_: int, rows: int) -> None:
        if rows > ORDERS // 2 and server.is_alive():
            os.kill(server.pid, signal.SIGKILL)
            while server.is_alive():
                time.sleep(0.01)

    with pytest.raises(Stopped) as stopped:
        shop.load(path, has_read=kill)
    assert stopped.value.file == path
    assert 1 < stopped.value.number <= ORDERS + 2

    server.start()
    # What is in is a beginning of the file: rows behind the one that was lost were not decided.
    ((last, count),) = shop.ask(
        "SELECT max((metadata->>'line')::int), count(*) FROM log.events WHERE type = 'OrderPlaced'"
    )
    assert count == (last - 2) // 2
    assert last >= stopped.value.number - 2

    shop.load(path)
    assert shop.ask(
        "SELECT count(*), count(DISTINCT data->>'external_id') FROM log.events WHERE type = 'OrderPlaced'"
    ) == [(ORDERS // 2, ORDERS // 2)]
    assert len(shop.rejected) == ORDERS // 2


def test_no_row_is_decided_behind_one_that_was_lost(shop):
    rows = [order(f"{number}", 1) for number in range(ORDERS)]
    path = shop.file("shop.jsonl", USER, TEA | {"min_initial_stock": ORDERS}, *rows)
    cuts: list[threading.Thread] = []

    def hang_up(_: int, rows: int) -> None:
        """End the connection in the middle of a batch, and when it tries again: the next batch would not fail."""
        if not cuts and rows > ORDERS // 2:
            cuts.append(threading.Thread(target=cut))
            cuts[0].start()

    def cut() -> None:
        waits = "datname = current_database() AND wait_event_type = 'Lock'"
        with psycopg.connect(shop.database_url) as holder:
            holder.execute("SELECT FROM log.head FOR UPDATE")
            for _ in range(2):
                wait_until(lambda: shop.ask(f"SELECT pid FROM pg_stat_activity WHERE {waits}") != [], 20, "it waits")
                shop.ask(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {waits}")

    with pytest.raises(Stopped):
        shop.load(path, has_read=hang_up)
    cuts[0].join()
    lines = [line for (line,) in shop.ask("SELECT (metadata->>'line')::int FROM log.events WHERE type = 'OrderPlaced'")]
    assert sorted(lines) == list(range(3, len(lines) + 3))
    assert len(lines) < ORDERS
    shop.load(path)
    assert shop.ask("SELECT count(*) FROM log.events WHERE type = 'OrderPlaced'") == [(ORDERS,)]


def test_without_a_database_an_import_does_not_begin(shop):
    shop.database_url = "postgresql://nobody@127.0.0.1:1/nothing"
    with pytest.raises(psycopg.OperationalError):
        shop.load(shop.file("users.jsonl", USER))
