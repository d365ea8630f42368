"""What grows with the log and with time: appending, loading a stream, reading, paging; and the processes' memory."""

import asyncio
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import psycopg

from bench import load
from bench.contenders import Orders, new_service, real_service
from bench.history import add_long_stream, write_events
from bench.load import Load
from bench.options import BenchError, Options
from bench.read import ids_of, paths_in
from bench.report import Report, Table
from bench.rounds import alternate, median_of, ratio
from bench.stage import Stage
from bench.write import placing
from command.states import States
from eventlog.codec import Codec
from eventlog.connecting import connect

EVENTS = {"10 thousand": 10_000, "1 million": 1_000_000, "10 million": 10_000_000}
EVENTS_QUICK = {"10 thousand": 10_000, "1 million": 30_000, "10 million": 60_000}
SMALLEST, LARGEST = "10 thousand", "10 million"
# Each has two events behind its last snapshot (one is taken every 8), so that the loads are alike.
STREAMS = {SMALLEST: 10, "1 million": 9_994, LARGEST: 999_978}
STREAMS_QUICK = {SMALLEST: 10, "1 million": 1_002, LARGEST: 9_994}
LOADS = 2_000
# The smallest log grows while it is measured; short runs keep it small beside the others.
APPEND_SECONDS_MAX = 3
ORDERS_EARLY, ORDERS_LATE = 20_000, 200_000
MEMORY_RUN_SECONDS = 2
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Log:
    """A service on a log of some size, and a product in it with a stream of some length."""

    service: Orders
    stream: str
    length: int


def measure(stage: Stage, options: Options) -> Report:
    """All tables of this part."""
    report = Report("growth")
    logs = {name: _log(stage, options, name) for name in EVENTS}
    for log in logs.values():
        log.service.start(worker=False)
    _http(stage, options, report, logs)
    for log in logs.values():
        log.service.stop()
    _streams(options, report, logs)
    for name in logs:
        stage.drop(name)
    _memory(stage, options, report)
    return report


def _log(stage: Stage, options: Options, name: str) -> Log:
    """A log, with the read tables rebuilt from it."""
    url = stage.database(name)
    write_events(url, options.size(EVENTS[name], EVENTS_QUICK[name]))
    length = options.size(STREAMS[name], STREAMS_QUICK[name])
    stream = add_long_stream(url, length)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
    service = real_service(stage, name.replace(" ", "-"), url)
    command = [sys.executable, "-P", "-m", "service.cli", "replay"]
    replay = stage.process("replay", command, {"DATABASE_URL": url, "REDIS_URL": service.redis_url})
    replay.start()
    replay.wait()
    return Log(service, stream, length)


def _http(stage: Stage, options: Options, report: Report, logs: dict[str, Log]) -> None:
    columns = ("what", "events in the log", "p50 ms", "p99 ms", "a second", "time to that of 10 thousand")
    note = "No worker beside. Append at 16 connections; the others at one: the time of one request."
    table = Table("The same requests on logs of three sizes", columns, note=note)
    report.tables.append(table)

    def append(log: Log, number: int) -> Load:
        stage.checkpoint()
        return placing(log.service, 16, min(APPEND_SECONDS_MAX, options.seconds))(number)

    def get(paths: Mapping[str, Iterable[str]], name: str, number: int) -> Load:
        file = paths_in(stage, f"growth-{name.replace(' ', '-')}", paths[name])
        return load.run(logs[name].service.url, "get.lua", 1, options.seconds, file, number)

    one = {name: [f"/orders/{id_}" for id_, _ in ids_of(log.service, "shop.orders")] for name, log in logs.items()}
    page = {name: ["/orders?limit=50"] for name in logs}
    for what, figure, runs in (
        ("POST an order", "growth.append", {name: partial(append, log) for name, log in logs.items()}),
        ("GET one order", "growth.read", {name: partial(get, one, name) for name in logs}),
        ("GET the newest 50 orders", "growth.page", {name: partial(get, page, name) for name in logs}),
    ):
        for run in runs.values():
            run(0)
        results = alternate(runs, options.rounds)
        report.keep(what, results)
        for name, loads in results.items():
            # The time of one, from how many were done: with many connections p50 says little of it.
            growth = ratio(results[SMALLEST], loads, lambda it: it.per_second)
            p50, p99 = median_of(loads, lambda it: it.p50_ms), median_of(loads, lambda it: it.p99_ms)
            table.rows.append((what, name, p50, p99, median_of(loads, lambda it: it.per_second), f"{growth:.2f} x"))
            if name == LARGEST:
                report.figures[figure] = growth


def _streams(options: Options, report: Report, logs: dict[str, Log]) -> None:
    """How long a process takes to load a product that it has not met yet, as the writer does."""

    def run(log: Log, _: int) -> float:
        return asyncio.run(_load(log, options.size(LOADS, 200)))

    results = alternate({name: partial(run, log) for name, log in logs.items()}, options.rounds)
    table = Table(
        "Loading the state of one product", ("events in its stream", "events in the log", "p50 ms", "to the first")
    )
    table.note = "From PostgreSQL, nothing known before: the last snapshot and the events behind it (two in each)."
    report.tables.append(table)
    for name, times in results.items():
        growth = ratio(times, results[SMALLEST], lambda it: it)
        table.rows.append((logs[name].length, name, statistics.median(times), f"{growth:.2f} x"))
        report.runs.append({"measured": f"load of a stream of {logs[name].length}", "p50_ms": times})
    report.figures["growth.stream"] = ratio(results[LARGEST], results[SMALLEST], lambda it: it)


async def _load(log: Log, times: int) -> float:
    """The median time of a load, in milliseconds."""
    connection = await connect(log.service.database_url)
    taken: list[float] = []
    for _ in range(times):
        states = States(Codec())
        started = time.perf_counter()
        await states.load(connection, [log.stream])
        taken.append((time.perf_counter() - started) * 1000)
        loaded = states.entity(log.stream)
        if loaded is None or loaded.version != log.length:
            raise BenchError(f"{log.stream} was loaded as {loaded}, not at version {log.length}")
    await connection.close()
    return statistics.median(taken)


def _memory(stage: Stage, options: Options, report: Report) -> None:
    early, late = options.size(ORDERS_EARLY, 2_000), options.size(ORDERS_LATE, 6_000)
    ours = new_service(stage, "memory")
    ours.start()
    table = Table("Resident memory of the running service", ("orders placed", "API MiB", "worker MiB"))
    table.note = "The worker: all processes of `orders work`."
    report.tables.append(table)
    weights: dict[int, tuple[float, float]] = {}
    run = placing(ours, 64, MEMORY_RUN_SECONDS)
    placed = number = 0
    for goal in (early, late):
        while placed < goal:
            placed += run(number).answered
            number += 1
        weights[goal] = (ours.api.memory() / MIB, ours.worker.memory() / MIB)
        table.rows.append((placed, *weights[goal]))
    report.runs.append({"measured": "memory in MiB (API, worker)", **{str(goal): it for goal, it in weights.items()}})
    report.figures["growth.api_memory"] = weights[late][0] / weights[early][0]
    report.figures["growth.worker_memory"] = weights[late][1] / weights[early][1]
    ours.stop()
