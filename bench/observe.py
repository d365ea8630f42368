"""What metrics and log lines cost at full load: `python -m bench.observe --before DIRECTORY`.

DIRECTORY holds the code to compare with, such as an earlier commit: `git archive REVISION | tar -x -C DIRECTORY`. The
contenders take turns on one database: that code, that code once more as the control, this code with metrics alone, and
this code with a line for each request too. A cost is against that code: the median of the rounds' quotients, with its
95 % confidence interval. The control's cost is the noise of the machine. CPU is the time that the API's process takes
for a request, which other programs on the machine disturb least.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from bench import load
from bench.contenders import Orders, another_api, new_service
from bench.load import Load
from bench.options import BenchError
from bench.read import ids_of, paths_in
from bench.rounds import alternate, median_of, shown
from bench.stage import Stage

CONNECTIONS = 64
BEFORE, CONTROL, METRICS, LINES = "before", "control", "metrics", "metrics and lines"
PLACE, GET = "POST /orders", "GET /orders/{id}"


def main() -> int:
    """Measure, and print the ratios. Returns the exit code: 0 measured, 1 could not."""
    parser = argparse.ArgumentParser(prog="python -m bench.observe", description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="a directory with the code to compare with")
    parser.add_argument("--seconds", type=float, default=1, help="length of a run under load [1]")
    parser.add_argument("--rounds", type=int, default=20, help="runs of each contender [20]")
    given = parser.parse_args()
    try:
        with Stage() as stage:
            _measure(stage, given.before.resolve(), given.seconds, given.rounds)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(stage: Stage, before: Path, seconds: float, rounds: int) -> None:
    ours = new_service(stage, "observed")
    ours.start()
    old = {"PYTHONPATH": str(before)}
    apis = {
        BEFORE: another_api(stage, ours, BEFORE, old),
        CONTROL: another_api(stage, ours, CONTROL, old),
        METRICS: another_api(stage, ours, METRICS, {"LOG_LEVEL": "warning"}),
        LINES: another_api(stage, ours, LINES, {"LOG_LEVEL": "info", "LOG_FORMAT": "json"}),
    }
    _compare(PLACE, {who: _placing(stage, api, seconds) for who, api in apis.items()}, rounds)
    ours.wait_until_projected()
    paths = paths_in(stage, "orders", (f"/orders/{id_}" for id_, _ in ids_of(ours, "shop.orders")))
    _compare(GET, {who: _getting(api, paths, seconds) for who, api in apis.items()}, rounds)


class Run(NamedTuple):
    """What wrk saw, and the microseconds of CPU time that the API took for a request."""

    load: Load
    cpu_us: float


def _measured(api: Orders, put_load: Callable[[], Load]) -> Run:
    before = api.api.cpu_seconds()
    done = put_load()
    return Run(done, (api.api.cpu_seconds() - before) / max(1, done.requests) * 1e6)


def _placing(stage: Stage, contender: Orders, seconds: float) -> Callable[[int], Run]:
    ids = contender.ids

    def run(number: int) -> Run:
        contender.settle()
        stage.checkpoint()
        arguments = (contender.url, "place.lua", CONNECTIONS, seconds, ids.users, ids.products, number, "-")
        return _measured(contender, lambda: load.run(*arguments))

    return run


def _getting(contender: Orders, paths: Path, seconds: float) -> Callable[[int], Run]:
    return lambda number: _measured(
        contender, lambda: load.run(contender.url, "get.lua", CONNECTIONS, seconds, paths, number)
    )


def _compare(name: str, runs: Mapping[str, Callable[[int], Run]], rounds: int) -> None:
    for run in runs.values():
        run(0)
    results = alternate(runs, rounds)
    without = results.pop(BEFORE)
    print(f"{name:<16} {BEFORE:<17} {median_of(without, lambda it: it.load.per_second):6,.0f}/s", flush=True)
    for who, found in results.items():
        pairs = list(zip(without, found, strict=True))
        costs = {
            "throughput": [(it.load.per_second / other.load.per_second - 1) * 100 for it, other in pairs],
            "p99": [(other.load.p99_ms / it.load.p99_ms - 1) * 100 for it, other in pairs],
            "CPU": [(other.cpu_us / it.cpu_us - 1) * 100 for it, other in pairs],
        }
        per_second = median_of(found, lambda it: it.load.per_second)
        used = shown([other.cpu_us - it.cpu_us for it, other in pairs], " us a request")
        told = "; ".join(f"{what} {shown(those, '%')}" for what, those in costs.items())
        print(f"{name:<16} {who:<17} {per_second:6,.0f}/s: {told}; CPU {used}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
