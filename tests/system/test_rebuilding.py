"""Rebuilding the read tables while all else goes on: with orders coming in, beside another rebuild, killed on the way.

Whatever becomes of the new tables, the old ones serve: readers never see an error, an empty table or half an order.
"""

import random
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psycopg
import pytest

from bench import load
from database.remedies import make_room
from tests import loopback
from tests.builders import wait_until
from tests.chance import chosen_seed
from tests.checker.check import assert_nothing_wrong
from tests.system.buyers import Buyers
from tests.system.stack import ServiceProcess, Stack

REPLAY_SECONDS_MAX = 120
READ_SECONDS_MAX = 10
PAUSE_SECONDS = 0.1
STOCKED = 5
LOAD_SECONDS = 20
CONNECTIONS = 32
ORDERS_PER_SECOND_MIN = 2_000


NO_ROOM = """
CREATE FUNCTION no_room() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
END
$$;
CREATE EVENT TRIGGER no_room ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION no_room();
"""


class Readers:
    """Clients that read all the while, and note what they should not have seen."""

    def __init__(self, urls: list[str], number: int = 2) -> None:
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(urls[each % len(urls)],)) for each in range(number)]
        self.reads = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(READ_SECONDS_MAX)
        assert not self.wrong, self.wrong[:10]
        assert self.reads > 10

    def _run(self, url: str) -> None:
        token = orders = 0
        with loopback.Client(base_url=url, timeout=READ_SECONDS_MAX) as http:
            while not self._stopping.wait(PAUSE_SECONDS):
                try:
                    products = http.get("/products", params={"limit": 100})
                    answer = http.get("/orders", params={"limit": 50, "sort": "placed_at"})
                except httpx.HTTPError as failure:
                    self.wrong.append(f"{type(failure).__name__}: {failure}")
                    continue
                self.reads += 1
                seen = [int(each.headers.get("sync-token", -1)) for each in (products, answer)]
                if not token <= seen[0] <= seen[1]:
                    self.wrong.append(f"after position {token} came {seen}: {products.text[:200]} {answer.text[:200]}")
                    continue
                token = seen[1]
                self._judge(products.json()["data"], answer.json()["data"], orders)
                orders = len(answer.json()["data"])

    def _judge(self, products: list[dict[str, object]], orders: list[dict[str, object]], before: int) -> None:
        if len(products) != STOCKED:
            self.wrong.append(f"{len(products)} products")
        if len(orders) < before:
            self.wrong.append(f"{len(orders)} orders, there were {before}")
        for order in orders:
            amounts = [Decimal(item["amount"]) for item in order["items"]]  # type: ignore[attr-defined]
            if sum(amounts) != Decimal(str(order["total"])) or not amounts:
                self.wrong.append(f"half an order: {order}")


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command refused."""
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("rebuilding")]
    return line


def ended(process: ServiceProcess) -> tuple[int, str]:
    """A command's exit code, and the last line it said."""
    code = process.wait(REPLAY_SECONDS_MAX)
    return code, process.log.strip().splitlines()[-1]


def schemas(stack: Stack) -> set[object]:
    return {name for (name,) in stack.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'shop%%'")}


@contextmanager
def long_report(stack: Stack) -> Iterator[None]:
    """A transaction that has read the checkpoint and stays open: no swap gets past it."""
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("SELECT FROM shop.checkpoint")
        yield


def test_whatever_is_done_to_a_replay_the_tables_serve(tmp_path: Path, is_long: bool) -> None:
    """Two at once, one beside a migration, some killed, one without room; with readers and buyers all the while."""
    seed = chosen_seed()
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    with Stack(tmp_path) as stack:
        with Buyers(stack.urls, seed, clients=2, pause=PAUSE_SECONDS) as buyers:
            wait_until(lambda: buyers.acknowledged > 20, READ_SECONDS_MAX, "some orders")
            stack.wait_until_caught_up()
            with Readers(stack.urls):
                for number in range(30 if is_long else 1):
                    killed(stack, number, chance.uniform(0.0, 0.5))
                without_room(stack)
                two_at_once_and_a_migration(stack)
                assert schemas(stack) == {"shop"}
        stack.wait_until_caught_up()
        assert_nothing_wrong(stack.database_url, buyers.history)


@pytest.mark.alone
def test_a_replay_keeps_up_with_orders_that_come_as_fast_as_they_can(tmp_path: Path, is_long: bool) -> None:
    if not is_long:
        pytest.skip("keeps the machine busy for half a minute: --long")
    if shutil.which("wrk") is None:
        pytest.skip("wrk, which makes the load, is not installed: apt-get install wrk")
    with Stack(tmp_path) as stack:
        with Buyers(stack.urls, seed=1, clients=1, pause=PAUSE_SECONDS) as buyers:
            files = [tmp_path / "users", tmp_path / "products"]
            files[0].write_text(buyers.user)
            files[1].write_text("\n".join(buyers.products))
            with Readers(stack.urls), ThreadPoolExecutor(1) as pool:
                loaded = pool.submit(load.run, stack.urls[0], "place.lua", CONNECTIONS, LOAD_SECONDS, *files, 1, "-")
                replays = 0
                while not loaded.done():
                    done = stack.run("replay", seconds=REPLAY_SECONDS_MAX)
                    assert done.returncode == 0, done.stderr
                    replays += 1
        told = loaded.result()
        print(f"{told}, {replays} replays, {stack.lag()} events behind at the end")
        assert (told.refused, told.broken) == (0, 0)
        assert told.per_second > ORDERS_PER_SECOND_MIN
        stack.wait_until_caught_up(REPLAY_SECONDS_MAX)
        # wrk writes down nothing of what it was told.
        assert_nothing_wrong(stack.database_url)


def two_at_once_and_a_migration(stack: Stack) -> None:
    """One replay wins, the other is refused in a line; the migration, which has nothing to do, does it."""
    first, second = (stack.service(f"replay-{number}", "replay", "shop") for number in range(2))
    with long_report(stack):
        for process in (first, second):
            process.start()
        wait_until(lambda: not (first.is_alive() and second.is_alive()), REPLAY_SECONDS_MAX, "one to be refused")
        winner, loser = (first, second) if first.is_alive() else (second, first)
        code, said = ended(loser)
        assert code == 1
        busy = r"orders: another replay or verify of shop is running \(PostgreSQL process \d+\)"
        assert re.fullmatch(busy, said), said
        migrated = stack.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        assert winner.is_alive()
    code, said = ended(winner)
    assert code == 0, said


def killed(stack: Stack, number: int, after: float) -> None:
    """So few orders are rebuilt faster than one looks: the report leaves it something to be killed at."""
    process = stack.service(f"replay-killed-{number}", "replay")
    with long_report(stack):
        process.start()
        wait_until(lambda: "shop_next" in schemas(stack), REPLAY_SECONDS_MAX, "the new tables")
        time.sleep(after)  # to be killed at any moment from there on
        process.kill()


def without_room(stack: Stack) -> None:
    """As if the disk were full when the new tables get their indexes."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(NO_ROOM)
        try:
            line = refusal(stack.run("replay"))
        finally:
            connection.execute("DROP EVENT TRIGGER no_room; DROP FUNCTION no_room")
    assert line == (f"orders: PostgreSQL: could not extend file: No space left on device; {make_room()}")
    assert schemas(stack) == {"shop"}
