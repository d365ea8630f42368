"""Placing orders: POST /orders, two products each."""

import itertools
import time
from collections.abc import Callable

from bench import load
from bench.contenders import Baseline, Orders, baseline, new_baseline, new_service, real_service
from bench.load import Load
from bench.options import BenchError, Options
from bench.report import LOAD_COLUMNS, Report, Table, load_rows
from bench.rounds import alternate, median_of, ratio
from bench.stage import Stage

CONNECTIONS = (1, 16, 64, 256)
USUAL = 64
WARM_UP_SECONDS = 2
# What wrk did not wait for at the end of a run is still being committed.
SETTLE_SECONDS = 0.5

Contender = Orders | Baseline
Run = Callable[[int], Load]
_numbers = itertools.count(1)


def measure(stage: Stage, options: Options) -> Report:
    """All tables of this part."""
    report = Report("write")
    ours = new_service(stage, "ours")
    ours.start()
    contenders: list[Contender] = [ours, new_baseline(stage, "crud"), new_baseline(stage, "crud_tuned")]
    contenders.append(baseline(stage, "ceiling", None, ours.ids))
    for each in contenders:
        placing(each, USUAL, min(WARM_UP_SECONDS, options.seconds))(0)
    _many_products(stage, options, report, contenders)
    _hot_pair(stage, options, report, contenders[:3])
    _keys(stage, options, report, ours)
    _worker(stage, options, report, ours)
    for idle in contenders[1:]:
        idle.api.stop()
    _processes(stage, options, report, ours)
    ours.stop()
    return report


def placing(contender: Contender, connections: int, seconds: float, *, hot: bool = False, keys: bool = False) -> Run:
    """A run of load with the proof that what was answered is there. Equal rounds place equal orders."""
    products = contender.ids.hot if hot else contender.ids.products

    def run(number: int) -> Load:
        prefix = f"{contender.name}-{time.time_ns()}-{next(_numbers)}" if keys else "-"
        mark = contender.mark()
        done = load.run(contender.url, "place.lua", connections, seconds, contender.ids.users, products, number, prefix)
        placed = _settled(contender, mark)
        # A fast wrong answer does not count. What wrk no longer waited for may be there too.
        if placed is not None and not done.answered <= placed <= done.answered + connections + done.broken:
            raise BenchError(f"{contender.name} answered {done.answered} orders, and has {placed}")
        contender.settle()
        return done

    return run


def _settled(contender: Contender, mark: int) -> int | None:
    """How many orders have come, once no more come: what was in flight must not disturb the next contender's run."""
    placed = contender.placed_since(mark)
    while True:
        time.sleep(SETTLE_SECONDS)
        before, placed = placed, contender.placed_since(mark)
        if placed == before:
            return placed


def _take_turns(stage: Stage, options: Options, runs: dict[str, Run]) -> dict[str, list[Load]]:
    def after_checkpoint(run: Run) -> Run:
        def fresh(number: int) -> Load:
            stage.checkpoint()
            return run(number)

        return fresh

    return alternate({name: after_checkpoint(run) for name, run in runs.items()}, options.rounds)


def _many_products(stage: Stage, options: Options, report: Report, contenders: list[Contender]) -> None:
    note = "The worker runs beside. `ours is`: ours to that contender, median of the rounds' quotients."
    table = Table("Placing orders: 2,000 products, 1,000 users, two products an order", LOAD_COLUMNS, note=note)
    report.tables.append(table)
    for connections in CONNECTIONS:
        runs = {each.name: placing(each, connections, options.seconds) for each in contenders}
        results = _take_turns(stage, options, runs)
        report.keep(f"many products, {connections} connections", results)
        ratios = {name: ratio(results["ours"], results[name], _rate) for name in results if name != "ours"}
        table.rows += load_rows(connections, results, ratios)
        if connections == USUAL:
            report.figures |= {
                "write.vs_crud": ratios["crud"],
                "write.vs_tuned": ratios["crud_tuned"],
                "write.vs_ceiling": ratios["ceiling"],
                "write.p99_vs_crud": ratio(results["ours"], results["crud"], lambda it: it.p99_ms),
                "write.per_second": median_of(results["ours"], _rate),
            }


def _hot_pair(stage: Stage, options: Options, report: Report, contenders: list[Contender]) -> None:
    runs = {each.name: placing(each, USUAL, options.seconds, hot=True) for each in contenders}
    results = _take_turns(stage, options, runs)
    report.keep("hot pair", results)
    ratios = {name: ratio(results["ours"], results[name], _rate) for name in results if name != "ours"}
    rows = load_rows(USUAL, results, ratios)
    report.tables.append(Table("Every order on the same two products", LOAD_COLUMNS, rows))
    report.figures["write.hot_vs_crud"] = ratios["crud"]
    report.figures["write.hot_vs_tuned"] = ratios["crud_tuned"]


def _keys(stage: Stage, options: Options, report: Report, ours: Orders) -> None:
    plain, keyed = "without", "with Idempotency-Key"
    runs = {plain: placing(ours, USUAL, options.seconds), keyed: placing(ours, USUAL, options.seconds, keys=True)}
    results = _take_turns(stage, options, runs)
    report.keep("keys", results)
    share = ratio(results[keyed], results[plain], _rate)
    rows = load_rows(USUAL, results, {plain: share})
    report.tables.append(
        Table("An Idempotency-Key on every request", LOAD_COLUMNS, rows, "`ours is`: with to without.")
    )
    report.figures["write.keyed_vs_plain"] = share


def _worker(stage: Stage, options: Options, report: Report, ours: Orders) -> None:
    def beside(number: int) -> Load:
        if not ours.worker.is_running:
            ours.worker.start()
            ours.wait_until_projected()
        return placing(ours, USUAL, options.seconds)(number)

    def alone(number: int) -> Load:
        ours.worker.stop()
        return placing(ours, USUAL, options.seconds)(number)

    with_worker, without = "worker beside", "no worker"
    results = _take_turns(stage, options, {with_worker: beside, without: alone})
    report.keep("worker", results)
    share = ratio(results[with_worker], results[without], _rate)
    rows = load_rows(USUAL, results, {without: share})
    note = "What the projection costs the write side on this machine. `ours is`: with to without."
    report.tables.append(Table("With and without the worker beside", LOAD_COLUMNS, rows, note))
    report.figures["write.worker_beside_vs_alone"] = share
    ours.worker.start()
    ours.wait_until_projected()


def _processes(stage: Stage, options: Options, report: Report, ours: Orders) -> None:
    two = real_service(stage, "two", ours.database_url, redis_url=ours.redis_url, processes=2)
    # The worker of `ours` serves both: they share the database and the bell.
    two.start(worker=False)
    hot, one_name, two_name = " (hot pair)", "one process", "two processes"
    runs = {
        one_name: placing(ours, USUAL, options.seconds),
        two_name: placing(two, USUAL, options.seconds),
        one_name + hot: placing(ours, USUAL, options.seconds, hot=True),
        two_name + hot: placing(two, USUAL, options.seconds, hot=True),
    }
    for name in (two_name, two_name + hot):
        runs[name](0)
    results = _take_turns(stage, options, runs)
    report.keep("processes", results)
    ratios = {
        one_name: ratio(results[two_name], results[one_name], _rate),
        one_name + hot: ratio(results[two_name + hot], results[one_name + hot], _rate),
    }
    rows = load_rows(USUAL, results, ratios)
    note = "`ours is`: two to one. A conflict between the processes that reached a client would show as refused."
    report.tables.append(Table("Two API processes on one database", LOAD_COLUMNS, rows, note))
    report.figures["write.two_processes_vs_one"] = ratios[one_name]
    report.figures["write.two_processes_refused"] = sum(
        load.refused + load.broken for name in (two_name, two_name + hot) for load in results[name]
    )
    two.stop()


def _rate(done: Load) -> float:
    return done.per_second
