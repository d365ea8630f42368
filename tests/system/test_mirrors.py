"""Mirrors under load: the mirror and its database are killed again and again, and no row is lost or counted twice."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Boolean, Integer, Numeric, func, select

from bench.mariadb import MariaDbServer, MysqlServer
from command.importing import files
from command.importing.rejects import Rejects
from command.importing.run import import_files
from service.projections import PROJECTIONS
from tests.builders import Writing, wait_until
from tests.chance import chosen_seed
from tests.projecting import sweep
from tests.projector.mirror.mirroring import catch_up, differences, have_caught_up, reading, streaming

ROOT = Path(__file__).parents[2]
KILLS, KILLS_LONG = 3, 50
STOP_SECONDS_MAX = 20
CATCH_UP_SECONDS_MAX = 60


class MirrorProcess:
    """`orders mirror`, in a process of its own."""

    def __init__(self, database_url: str, target_url: str, log: Path) -> None:
        self._command = [sys.executable, "-P", "-m", "service.cli", "mirror", target_url]
        self._environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": database_url}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Wait until it has caught up, and stop it as an operator does, who then sees exit code 0."""
        assert self._process is not None
        with psycopg.connect(self._environment["DATABASE_URL"], autocommit=True) as connection:
            wait_until(lambda: have_caught_up(connection), CATCH_UP_SECONDS_MAX, "the mirror has caught up")
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(STOP_SECONDS_MAX) == 0, self._log.read_text()


def report(database_url: str, target_url: str, what: str, number: int) -> None:
    found = differences(database_url, target_url)
    with psycopg.connect(database_url) as connection:
        ((head,),) = connection.execute("SELECT position FROM log.head").fetchall()
    print(f"{number} {what}: {len(found)} differences after {head:,} events")
    assert not found


@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_a_mirror_that_is_killed_again_and_again_loses_nothing(
    database_url: str, empty_database_url: str, tmp_path: Path, is_long: bool, database: str
) -> None:
    target_url = f"sqlite:///{tmp_path / 'app.db'}" if database == "SQLite" else empty_database_url
    mirror = MirrorProcess(database_url, target_url, tmp_path / "mirror.log")
    chance = random.Random(chosen_seed())  # noqa: S311 - no secret
    with Writing(database_url) as writing, writing.traffic():
        for _ in range(KILLS_LONG if is_long else KILLS):
            mirror.start()
            time.sleep(chance.uniform(1, 4))
            mirror.kill()
        mirror.start()
    mirror.stop()
    report(database_url, target_url, f"kills of a mirror in {database}", KILLS_LONG if is_long else KILLS)


def test_a_mariadb_that_is_killed_again_and_again_loses_nothing(
    database_url: str, tmp_path: Path, is_long: bool, mariadb: MariaDbServer
) -> None:
    server = MariaDbServer(tmp_path, durable=True)
    server.install()
    server.start()
    with ExitStack() as stack:
        stack.callback(server.stop)
        target_url = server.database("app")
        mirror = MirrorProcess(database_url, target_url, tmp_path / "mirror.log")
        chance = random.Random(chosen_seed())  # noqa: S311 - no secret
        with Writing(database_url) as writing, writing.traffic():
            mirror.start()
            for number in range(KILLS_LONG if is_long else KILLS):
                time.sleep(chance.uniform(1, 4))
                server.kill()
                if number % 2:
                    mirror.kill()
                server.start()
                if number % 2:
                    mirror.start()
        mirror.stop()
        report(
            database_url, target_url, "kills of MariaDB, half of them with the mirror", KILLS_LONG if is_long else KILLS
        )


def test_a_real_year_is_the_same_in_every_mirror(
    database_url: str, empty_database_url: str, tmp_path: Path, mariadb: MysqlServer
) -> None:
    """Needs ORDERS_REAL_YEAR: a folder of users, products and commands as docs/importing.md has them."""
    folder = os.environ.get("ORDERS_REAL_YEAR")
    if not folder:
        pytest.skip("ORDERS_REAL_YEAR names no folder with a real year")
    with Rejects(tmp_path / "rejects.jsonl") as into:
        asyncio.run(import_files(database_url, files.find(Path(folder)), into, "GBP"))
    sweep(database_url)
    for target_url in (f"sqlite:///{tmp_path / 'app.db'}", mariadb.database("year"), empty_database_url):
        catch_up(database_url, target_url)
        for projection in PROJECTIONS:
            for table in projection.plain_tables:
                with streaming(target_url, table) as mirrored, streaming(database_url, table) as wanted:
                    number = 0
                    for number, (row, other) in enumerate(zip(mirrored, wanted, strict=True), 1):  # noqa: B007 - printed
                        assert row == other, (target_url, table.name)
                    assert number
                print(f"{table.name}: {number:,} rows are equal in {target_url.partition(':')[0]}")
        assert sums(target_url) == sums(database_url)


def sums(url: str) -> list[Any]:
    """The sums of all amounts and quantities, made by the database itself."""
    engine = reading(url)
    queries = [
        select(func.sum(column))
        for projection in PROJECTIONS
        for table in projection.plain_tables
        for column in table.columns
        if isinstance(column.type, Numeric | Integer) and not isinstance(column.type, Boolean)
    ]
    with engine.connect() as connection:
        found = [connection.execute(query).scalar_one() for query in queries]
    engine.dispose()
    assert len(found) > 15
    return found
