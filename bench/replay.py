"""Rebuilding all read tables from the log: `orders replay` beside pure SQL, and the proof that both made the same."""

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import psycopg
from sqlalchemy import MetaData
from sqlalchemy.schema import CreateIndex

from bench.history import HERE, head, write_events
from bench.options import BenchError, Options
from bench.report import Report, Table
from bench.rounds import alternate, median_of, ratio
from bench.stage import Stage, execute
from readmodel import shop as tables
from readmodel.base import DIALECT

SMALL, LARGE = 1_000_000, 5_000_000
SCHEMA_OF_SQL = "read_sql"
MIB = 1024**2
COMPARED = ("users", "products", "orders", "order_items")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How long it took; `peak` is the process's memory in bytes (0: there is no process)."""

    events: int
    seconds: float
    peak: int

    @property
    def per_second(self) -> float:
        return self.events / self.seconds


def measure(stage: Stage, options: Options) -> Report:
    """All tables of this part."""
    report = Report("replay")
    columns = ("events", "contender", "seconds", "events a second", "lowest - highest", "peak MiB", "ours is")
    note = "All read tables with keys, checks, foreign keys, indexes and statistics. Ours: the whole `orders replay`."
    table = Table("Rebuilding the read tables", columns, note=note)
    report.tables.append(table)
    peaks: dict[str, float] = {}
    for size, wanted in (("small", options.size(SMALL, 30_000)), ("large", options.size(LARGE, 100_000))):
        url = stage.database(size)
        write_events(url, wanted)
        contenders = {"ours": partial(_replay, stage, url), "pure SQL": partial(_pure_sql, stage, url)}
        results = alternate(contenders, options.rounds)
        _compare(url)
        share = ratio(results["ours"], results["pure SQL"], lambda it: it.per_second)
        for name, rebuilt in results.items():
            table.rows.append(_row(name, rebuilt, share if name == "pure SQL" else None))
            report.runs += [
                {"measured": f"replay of {it.events} events", "contender": name, "seconds": it.seconds, "peak": it.peak}
                for it in rebuilt
            ]
        peaks[size] = median_of(results["ours"], lambda it: it.peak / MIB)
        report.figures[f"replay.vs_sql_{size}"] = share
        _verify(stage, url, report)
        if size == "small":
            _upkeep(stage, url, options, report)
        stage.drop(size)
    report.figures["replay.vs_sql"] = report.figures["replay.vs_sql_large"]
    report.figures["replay.peak_mib_large"] = peaks["large"]
    report.figures["replay.peak_growth"] = peaks["large"] / peaks["small"]
    return report


def _row(name: str, results: list[Rebuilt], share: float | None) -> tuple[str | float | int, ...]:
    rates = [it.per_second for it in results]
    return (
        results[0].events,
        name,
        median_of(results, lambda it: it.seconds),
        statistics.median(rates),
        f"{min(rates):,.0f} - {max(rates):,.0f}",
        median_of(results, lambda it: it.peak / MIB) if results[0].peak else "",
        f"{share:.2f} x" if share else "",
    )


def _upkeep(stage: Stage, url: str, options: Options, report: Report) -> None:
    """What `sales` and `activity` add to a replay of `shop`, one after another and beside it."""
    wanted = {
        "shop": partial(_replay, stage, url),
        "all": partial(_replay, stage, url, arguments=()),
        "all, --processes 2": partial(_replay, stage, url, arguments=("--processes", "2")),
    }
    results = alternate(wanted, options.rounds)
    table = Table("Upkeep of sales and activity", ("replay of", "seconds", "of shop alone"))
    report.tables.append(table)
    for name, rebuilt in results.items():
        share = ratio(rebuilt, results["shop"], lambda it: it.seconds)
        table.rows.append((name, median_of(rebuilt, lambda it: it.seconds), f"{share:.2f} x"))
        report.runs += [{"measured": f"replay of {name}", "seconds": it.seconds} for it in rebuilt]
    report.figures["replay.upkeep"] = ratio(results["all"], results["shop"], lambda it: it.seconds)


def _replay(stage: Stage, url: str, _: int, arguments: Sequence[str] = ("shop",)) -> Rebuilt:
    stage.checkpoint()
    command = [sys.executable, "-P", "-m", "service.cli", "replay", *arguments]
    process = stage.process("replay", command, {"DATABASE_URL": url, "REDIS_URL": stage.valkey.url})
    process.start()
    seconds, peak = process.wait()
    return Rebuilt(head(url), seconds, peak)


def _pure_sql(stage: Stage, url: str, _: int) -> Rebuilt:
    stage.checkpoint()
    started = time.monotonic()
    with psycopg.connect(url) as connection:
        connection.execute((HERE / "replay.sql").read_bytes())
        for statement in _indexes():
            connection.execute(statement.encode())
    for name in COMPARED:
        execute(url, f"ANALYZE {SCHEMA_OF_SQL}.{name}")
    return Rebuilt(head(url), time.monotonic() - started, 0)


def _indexes() -> list[str]:
    """The read tables' indexes, for the other schema."""
    moved = MetaData()
    for table in tables.METADATA.sorted_tables:
        table.to_metadata(moved, schema=SCHEMA_OF_SQL, referred_schema_fn=lambda *_: SCHEMA_OF_SQL)
    indexes = (index for table in moved.sorted_tables if table.name in COMPARED for index in table.indexes)
    return [str(CreateIndex(index).compile(dialect=DIALECT)) for index in indexes]


def _compare(url: str) -> None:
    """Raises BenchError unless both made the same rows."""
    for name in COMPARED:
        columns = ", ".join(
            column.name for column in tables.METADATA.tables[f"{tables.METADATA.schema}.{name}"].columns
        )
        ours, theirs = (f"SELECT {columns} FROM {schema}.{name}" for schema in (tables.METADATA.schema, SCHEMA_OF_SQL))  # noqa: S608 - names of ours
        differs = f"SELECT count(*) FROM (({ours} EXCEPT {theirs}) UNION ALL ({theirs} EXCEPT {ours})) AS differing"  # noqa: S608 - as above
        if rows := execute(url, differs)[0][0]:
            raise BenchError(f"`orders replay` and bench/replay.sql differ in {rows} rows of {name}")


def _verify(stage: Stage, url: str, report: Report) -> None:
    """Raises BenchError when `orders verify` finds a difference."""
    command = [sys.executable, "-P", "-m", "service.cli", "verify", "shop"]
    process = stage.process("verify", command, {"DATABASE_URL": url, "REDIS_URL": stage.valkey.url})
    process.start()
    seconds, peak = process.wait()
    report.runs.append({"measured": f"verify of {head(url)} events", "seconds": seconds, "peak": peak})
    if not report.tables[1:]:
        report.tables.append(Table("orders verify", ("events", "seconds", "events a second", "peak MiB")))
    report.tables[1].rows.append((head(url), seconds, head(url) / seconds, peak / MIB))
