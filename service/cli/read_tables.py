"""`orders replay` and `orders verify`: rebuild projections, and prove them right."""

import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Annotated

import typer
from psycopg.errors import InsufficientPrivilege

from console.words import counted
from database.rules import function_of
from projector.checkpoint import AheadOfLog, OtherVersion
from projector.dependents import InTheWay
from projector.loop import Progress
from projector.parked import groups
from projector.projection import Projection
from projector.replay import SwapRefused
from projector.shadow import Busy, Report
from projector.verify import DIFFERENCES_MAX, Verdict
from projector.verify import verify as compare
from service.cli import acting, connect, output, rebuilding
from service.errors import INTERRUPTED, NOT_TRUE, OperatorError
from service.garbage import collect_seldom
from service.projections import named

Names = Annotated[list[str] | None, typer.Argument(metavar="[PROJECTION]...", help="All of them when left out")]


def replay(
    projections: Names = None,
    processes: Annotated[
        int | None, typer.Option(help="Rebuild so many projections at the same time [default: one a processor]", min=1)
    ] = None,
    data_dir: connect.DataDir = None,
) -> None:
    """Rebuild projections from the first event on, while their old tables serve; then let the new ones serve."""
    chosen = named(projections)
    url = connect.database_url(data_dir)
    names = [it.name for it in chosen]
    interrupted = "interrupted: the old read tables go on serving, what was built of the new ones is dropped"
    with _explained(interrupted), output.events_bar(f"rebuilding {', '.join(names)}") as show:
        for name, events, seconds in rebuilding.rebuild_several(url, names, processes or os.cpu_count() or 1, show):
            rate = events / seconds
            print(f"rebuilt {name} from {events:,} events in {seconds:.1f} s ({rate:,.0f} events/s)", flush=True)
    acting.note(url, "projection.replayed", ", ".join(names))
    _tell_parked(url, chosen)


def _tell_parked(url: str, projections: list[Projection]) -> None:
    with connect.asking(url, "orders replay") as connection:
        found = groups(connection, projections)
    for projection in projections:
        if number := sum(it.streams for it in found if it.projection == projection.name):
            print(f"{projection.name}: {_parked(number)} at an event that cannot be projected: orders parked")


def _parked(streams: int) -> str:
    return counted(streams, "stream is parked", "streams are parked")


def verify(
    projections: Names = None,
    stream: Annotated[str | None, typer.Option(help="Only the rows of this stream, such as order-<id>")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help=f"Print JSON, with the first {DIFFERENCES_MAX:,} differences")
    ] = False,
    data_dir: connect.DataDir = None,
) -> None:
    """Prove that read tables equal the fold of the log: exit code 0; or name what differs: exit code 1."""
    chosen = named(projections)
    if stream is not None:
        from service.cli.past import verify_stream  # a replay and a fold of the log need no FastAPI

        verify_stream(chosen, bool(projections), stream, as_json, data_dir)
        return
    url = connect.database_url(data_dir)
    verdicts = []
    for projection in chosen:
        with _folding(f"folding the log for {projection.name}") as report:
            verdicts.append(compare(url, projection, report))
        if not as_json:
            rest = f": --json shows up to {DIFFERENCES_MAX:,}"
            print_verdict(verdicts[-1], f"orders replay {projection.name}", rest)
    equal = not any(it.found for it in verdicts)
    if as_json:
        output.json({"equal": equal, "projections": [_view(it) for it in verdicts]})
    if not equal:
        raise typer.Exit(NOT_TRUE)


def _view(verdict: Verdict) -> dict[str, object]:
    return {
        "name": verdict.projection,
        "equal": not verdict.found,
        "position": verdict.position,
        "rows": verdict.rows,
        "parked": verdict.parked,
        "found": verdict.found,
        "differences": verdict.differences,
    }


def print_verdict(verdict: Verdict, remedy: str, rest: str = "") -> None:
    """Print the differences and the command `remedy`, which mends them. `rest` says how to see those left out."""
    between = f"tables and log, at position {verdict.position:,}"
    output.comparison(verdict.projection, between, verdict.rows, verdict.found, verdict.differences, rest)
    if verdict.parked:
        print(f"{verdict.projection}: {_parked(verdict.parked)}, so rows lack their later events: orders parked")
    if verdict.found:
        print(f"rebuild them with: {remedy}")


@contextmanager
def _folding(title: str) -> Iterator[Report]:
    """Show the progress that the block reports to what is yielded."""
    collect_seldom()
    interrupted = "interrupted: nothing was proved"
    with _explained(interrupted), rebuilding.interruptible() as check, output.events_bar(title) as show:

        def report(progress: Progress) -> None:
            check()
            show(progress)

        yield report


@contextmanager
def _explained(interrupted: str) -> Iterator[None]:
    """Turn the errors of a rebuild that an operator can cause into OperatorError."""
    try:
        yield
    except (AheadOfLog, Busy, InTheWay, SwapRefused) as error:
        raise OperatorError(str(error)) from error
    except BrokenProcessPool as error:
        raise OperatorError(
            "a process that rebuilt was killed, as it is when memory runs out: the old read tables go on serving; "
            "free memory or give it more (--processes 1 needs the least), and replay again"
        ) from error
    except OtherVersion as error:
        raise OperatorError(f"{error}: rebuild them with `orders replay`, or run that release") from error
    except InsufficientPrivilege as error:
        if function_of(error):
            raise
        hint = "use the role that owns the tables and may create schemas"
        raise OperatorError(f"{error.diag.message_primary}: {hint}") from error
    except KeyboardInterrupt:
        raise OperatorError(interrupted, INTERRUPTED) from None
