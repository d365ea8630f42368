"""Mirrors: how fast they catch up with a log, and how far behind it they are at 500 orders a second.

MariaDB and the file of SQLite are as durable as they are by default. Without MariaDB's programs its rows are left out.
"""

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self

import uvloop
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from bench import mariadb
from bench.contenders import new_service
from bench.history import head, write_events
from bench.mariadb import MariaDbServer
from bench.mirror_ceiling import seconds_for_rows
from bench.options import BenchError, Options
from bench.process import Process
from bench.report import Report, Table
from bench.rounds import alternate, median_of
from bench.stage import Stage, execute
from bench.visible import drive
from projector.projections.shop import SHOP

EVENTS = 300_000
RATE = 500
LOOK_SECONDS = 0.005
IDLE_SECONDS = 5
CATCH_UP_SECONDS_MAX = 60


def measure(stage: Stage, options: Options) -> Report:
    """All tables of this part."""
    report = Report("mirror")
    with _targets(stage) as targets:
        _catch_up(stage, options, report, targets)
        _lag(stage, options, report, targets)
    return report


@contextmanager
def _targets(stage: Stage) -> Iterator[dict[str, Callable[[str], str]]]:
    """For each kind of target: the function that makes an empty one, by a name. Returns its URL."""
    targets: dict[str, Callable[[str], str]] = {
        "SQLite": lambda name: f"sqlite:///{stage.directory / name}.db",
        "PostgreSQL": lambda name: stage.database(name, migrated=False),
    }
    if mariadb.missing():
        yield targets
        return
    directory = Path(stage.directory) / "mariadb"
    directory.mkdir()
    server = MariaDbServer(directory, durable=True)
    server.install()
    server.start()
    try:
        yield {"MariaDB": server.database} | targets
    finally:
        server.stop()


def _catch_up(stage: Stage, options: Options, report: Report, targets: dict[str, Callable[[str], str]]) -> None:
    url = stage.database("log")
    write_events(url, options.size(EVENTS, 20_000))
    table = Table("Catching up from nothing", ("projections", "target", "events", "events a second", "CPU s"))
    table.note = (
        "The whole of `orders mirror URL --once`, with the start of the process; CPU of that process alone. "
        "`rows alone` is what the database allows: the final rows by executemany, from memory, without the log."
    )
    report.tables.append(table)
    for projections in (("shop",), ("shop", "sales", "activity")):
        label = " ".join(projections)
        filled: dict[str, str] = {}
        contenders = {
            name: partial(_once, stage, url, make, name, projections, filled) for name, make in targets.items()
        }
        if len(projections) == 1:
            contenders |= {
                f"{name}, rows alone": partial(_rows_alone, make, filled, name) for name, make in targets.items()
            }
            contenders.pop("PostgreSQL, rows alone")  # it takes COPY
        for name, runs in alternate(contenders, options.rounds).items():
            rate = median_of(runs, lambda run: head(url) / run[0])
            table.rows.append((label, name, head(url), rate, median_of(runs, lambda run: run[1])))
            report.runs.append({"measured": f"catch up of {label}", "contender": name, "runs": runs})
            if len(projections) == 1 and name in targets:
                report.figures[f"mirror.catch_up_{name.lower()}"] = rate


def _once(
    stage: Stage,
    url: str,
    make: Callable[[str], str],
    name: str,
    projections: tuple[str, ...],
    filled: dict[str, str],
    number: int,
) -> tuple[float, float]:
    """Mirror into an empty target: seconds, and CPU seconds. The URL of the target is added to `filled`."""
    target = filled[name] = make(f"{name.lower()}_{len(projections)}_{number}")
    chosen = [it for projection in projections for it in ("-p", projection)]
    command = [sys.executable, "-P", "-m", "service.cli", "mirror", target, "--once", *chosen]
    process = stage.process(f"mirror-{name}", command, {"DATABASE_URL": url})
    process.start()
    began = time.monotonic()
    cpu = 0.0
    while process.is_running:
        with suppress(BenchError, OSError):
            cpu = process.cpu_seconds()
        time.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - began
    process.wait()
    return seconds, cpu


def _rows_alone(make: Callable[[str], str], filled: dict[str, str], name: str, number: int) -> tuple[float, float]:
    """The rows of the mirror of `shop` that this round has filled just now: seconds, and CPU seconds."""
    cpu = time.process_time()
    seconds = seconds_for_rows(filled[name], make(f"{name.lower()}_rows_{number}"), SHOP)
    return seconds, time.process_time() - cpu


def _lag(stage: Stage, options: Options, report: Report, targets: dict[str, Callable[[str], str]]) -> None:
    table = Table(
        f"Behind the log at {RATE} orders a second", ("target", "p50 ms", "p99 ms", "worst ms", "CPU %", "CPU % idle")
    )
    table.note = (
        "All three projections; from an event's append to the commit of the mirror of `shop` that has it. CPU: percent "
        "of a core that the mirror takes meanwhile, and then without any orders."
    )
    report.tables.append(table)
    service = new_service(stage, "ours")
    service.start()
    uvloop.run(drive(service, RATE, 1))
    for name, make in targets.items():
        url = make(f"lag_{name.lower()}")
        command = [sys.executable, "-P", "-m", "service.cli", "mirror", url]
        mirror = stage.process(f"lag-{name}", command, {"DATABASE_URL": service.database_url})
        mirror.start()
        watch = _Watch(url)
        watch.wait_for(head(service.database_url))
        # It makes the indexes when it has caught up for the first time: that is no lag of a mirror that follows.
        uvloop.run(drive(service, RATE, 1))
        watch.wait_for(head(service.database_url))
        before = head(service.database_url)
        with watch, _Cpu(mirror) as busy:
            uvloop.run(drive(service, RATE, options.seconds))
            watch.wait_for(head(service.database_url))
        service.wait_until_projected()
        with _Cpu(mirror) as idle:
            time.sleep(IDLE_SECONDS)  # the mirror has nothing to do meanwhile
        mirror.stop()
        behind = _behind(service.database_url, before, watch.seen)
        percentiles = statistics.quantiles(behind, n=100, method="inclusive")
        table.rows.append((name, percentiles[49], percentiles[98], max(behind), busy.percent, idle.percent))
        report.figures[f"mirror.lag_p99_ms_{name.lower()}"] = percentiles[98]
    service.stop()


def _behind(database_url: str, after: int, seen: list[tuple[float, int]]) -> list[float]:
    """For each event behind a position: milliseconds from its append until the mirror was first seen to have it."""
    events = execute(
        database_url,
        "SELECT position, extract(epoch FROM recorded_at)::float8 FROM log.events "
        "WHERE position > %(after)s ORDER BY position",
        {"after": after},
    )
    behind = []
    looks = iter(seen)
    at, reached = next(looks)
    for position, appended in events:
        while reached < position:
            at, reached = next(looks)
        behind.append((at - appended) * 1_000)
    return behind


class _Cpu:
    """Percent of a core that a process takes while a block runs."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.percent = 0.0

    def __enter__(self) -> Self:
        self._began, self._before = time.monotonic(), self._process.cpu_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        seconds = self._process.cpu_seconds() - self._before
        self.percent = 100 * seconds / (time.monotonic() - self._began)


class _Watch:
    """A thread that looks where a mirror is, again and again: (time, position)."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        table = "shop.checkpoint" if self._engine.dialect.name == "postgresql" else "shop_checkpoint"
        self._query = text(f"SELECT position FROM {table}")  # noqa: S608 - a name of ours
        self.seen: list[tuple[float, int]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._engine.dispose()

    def wait_for(self, position: int) -> None:
        until = time.monotonic() + CATCH_UP_SECONDS_MAX
        while self._position() < position:
            if time.monotonic() > until:
                raise BenchError(f"the mirror did not catch up within {CATCH_UP_SECONDS_MAX} s")
            time.sleep(0.1)
        time.sleep(LOOK_SECONDS * 4)  # the thread looks once more

    def _look(self) -> None:
        while not self._stopping.is_set():
            position = self._position()
            self.seen.append((time.time(), position))
            time.sleep(LOOK_SECONDS)

    def _position(self) -> int:
        try:
            with self._engine.connect() as connection:
                return int(connection.execute(self._query).scalar_one())
        except DBAPIError:
            return 0  # not there yet


def _engine(url: str) -> Engine:
    for scheme, driver in (("postgresql:", "postgresql+psycopg:"), ("mysql:", "mysql+pymysql:")):
        url = url.replace(scheme, driver, 1) if url.startswith(scheme) else url
    return create_engine(url, isolation_level="AUTOCOMMIT")
