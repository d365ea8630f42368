"""What each projection costs, catching up live and in a replay: `python -m bench.upkeep [--before DIRECTORY]`.

DIRECTORY holds code to compare with, such as an earlier commit: `git archive REVISION | tar -x -C DIRECTORY`. All take
turns on copies of one log. CPU is the time of Python and of PostgreSQL together, which other programs on the machine
disturb least. `all` is one worker with all projections, or their replays one after another.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.history import HERE, write_events
from bench.options import BenchError
from bench.process import cpu_seconds_of_server
from bench.rounds import alternate, median_of, ratio
from bench.stage import ROOT, Stage

PROJECTIONS = ("shop", "sales", "activity")
ALONE = {name: (name,) for name in PROJECTIONS}
# The name of each run, with the way to fold the log and the projections to build.
LIVE = {what: ("live", names) for what, names in {**ALONE, "all": PROJECTIONS}.items()}
REPLAY = {what: ("replay", names) for what, names in {**ALONE, "all": PROJECTIONS}.items()}
REPLAY["all, two at a time"] = ("two replays at a time", PROJECTIONS)


class Cost(NamedTuple):
    """Seconds: of the clock, and of CPU time."""

    clock: float
    python: float
    postgres: float

    @property
    def cpu(self) -> float:
        return self.python + self.postgres


def main() -> int:
    """Measure, and print the costs and their ratios. Returns the exit code: 0 measured, 1 could not."""
    parser = argparse.ArgumentParser(prog="python -m bench.upkeep", description=__doc__)
    parser.add_argument("--before", type=Path, help="a directory with the code to compare with")
    parser.add_argument("--events", type=int, default=200_000, help="how many events the log has")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    given = parser.parse_args()
    trees = {"this code": ROOT} | ({"before": given.before.resolve()} if given.before else {})
    try:
        with Stage() as stage:
            print(f"{write_events(stage.database('events'), given.events):,} events; medians of {given.rounds} rounds")
            _measure(stage, "live", LIVE, trees, given.rounds)
            _measure(stage, "replay", REPLAY, trees, given.rounds)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(
    stage: Stage,
    title: str,
    contenders: Mapping[str, tuple[str, Sequence[str]]],
    trees: Mapping[str, Path],
    rounds: int,
) -> None:
    runs = {
        f"{tree} {what}": partial(_run, stage, path, way, names)
        for what, (way, names) in contenders.items()
        for tree, path in trees.items()
    }
    costs = alternate(runs, rounds)
    for tree in trees:
        of = {what: costs[f"{tree} {what}"] for what in contenders}
        for what, found in of.items():
            clock = median_of(found, lambda it: it.clock)
            python, postgres = median_of(found, lambda it: it.python), median_of(found, lambda it: it.postgres)
            print(f"{title}, {tree}, {what}: {clock:.2f} s; CPU {python:.2f} s Python, {postgres:.2f} s PostgreSQL")
        added = [sales.cpu + activity.cpu for sales, activity in zip(of["sales"], of["activity"], strict=True)]
        shares = sorted(cost / shop.cpu for cost, shop in zip(added, of["shop"], strict=True))
        print(f"{title}, {tree}: sales and activity cost {shares[len(shares) // 2]:.1%} of the CPU of shop")
        for what in [it for it in contenders if it not in ALONE]:
            print(f"{title}, {tree}, {what}: x {ratio(of[what], of['shop'], lambda it: it.clock):.2f} the time of shop")
    if len(trees) > 1:
        for what in contenders:
            pair = costs[f"this code {what}"], costs[f"before {what}"]
            clock, cpu = ratio(*pair, lambda it: it.clock), ratio(*pair, lambda it: it.cpu)
            print(f"{title}, {what}, this code to before: time x {clock:.3f}, CPU x {cpu:.3f}")
    sys.stdout.flush()


def _run(stage: Stage, tree: Path, way: str, names: Sequence[str], _: int) -> Cost:
    """Fold the whole log into empty tables of a copy, with the code in `tree`."""
    url = stage.database("copy", template="events")
    stage.checkpoint()
    before = cpu_seconds_of_server(stage.postgres.pid)
    command = [sys.executable, "-P", os.fspath(HERE / "upkeep_process.py"), url, way, *names]
    process = stage.process("upkeep", command, {"PYTHONPATH": str(tree)})
    process.start()
    process.wait()
    clock, python = json.loads(process.last_line())
    stage.drop("copy")  # its sessions have ended, so their CPU time is known
    return Cost(clock, python, cpu_seconds_of_server(stage.postgres.pid) - before)


if __name__ == "__main__":
    sys.exit(main())
