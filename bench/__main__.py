"""`python -m bench`, or only some parts: `python -m bench write read --quick`."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench import load, machine, report
from bench.options import BenchError, Options
from bench.report import RESULTS, Report
from bench.stage import Stage
from bench.targets import summary
from service.errors import OperatorError

PARTS = ("write", "read", "visible", "replay", "growth", "ask", "peers")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure. Returns the exit code: 0 measured (whatever the figures), 1 could not."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the service beside its alternatives.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; none: all")
    parser.add_argument("--seconds", type=float, default=None, help="length of a run under load [10; quick: 2]")
    parser.add_argument("--rounds", type=int, default=None, help="runs of each contender [3; quick: 1]")
    parser.add_argument("--quick", action="store_true", help="small data, short runs: to see that it works")
    parser.add_argument("--directory", type=Path, help="where the servers keep their data while they run [TMPDIR]")
    parser.add_argument("--output", type=Path, help="the JSON file [bench/results/<time>.json]")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    options = Options(
        seconds=given.seconds or (2.0 if given.quick else 10.0),
        rounds=given.rounds or (1 if given.quick else 3),
        quick=given.quick,
        directory=given.directory,
    )
    path = given.output or RESULTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        _measure(given.parts or PARTS, options, path, console)
    except (BenchError, OperatorError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(parts: Sequence[str], options: Options, path: Path, console: Console) -> None:
    load.program()
    reports: list[Report] = []
    for part in PARTS:
        if part not in parts:
            continue
        started = time.monotonic()
        # Servers of its own: no part inherits another's data, caches or left-overs.
        with Stage(options.directory) as stage:
            facts = machine.facts(stage)
            if facts["filesystem"] == "tmpfs":
                console.print("[yellow]The data is in memory: commits cost nothing here. Use --directory.")
            reports.append(_part(part)(stage, options))
        console.print(f"[bold]{part}[/bold] ({time.monotonic() - started:,.0f} s)")
        report.show(reports[-1], console)
        # Written after each part, so that what was measured stays when a later part fails.
        report.write(path, report.document(facts, asdict(options), reports))
    figures = {name: figure for each in reports for name, figure in each.figures.items()}
    report.show(Report("targets", [summary(figures)]), console)
    console.print(f"{path}")


def _part(name: str) -> Callable[[Stage, Options], Report]:
    import importlib

    measure: Callable[[Stage, Options], Report] = importlib.import_module(f"bench.{name}").measure
    return measure


if __name__ == "__main__":
    sys.exit(main())
