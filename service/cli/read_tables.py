"""`orders replay` and `orders verify`: rebuild projections, and prove them right."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import acting, connect, rebuilding
from service.cli.failures import MISUSE, NOT_TRUE
from service.cli.run import DataDir
from service.errors import OperatorError

if TYPE_CHECKING:
    from projector.loop import Progress
    from projector.projection import Projection
    from projector.shadow import Report
    from projector.verify import Difference, Verdict

# A reader needs no more; --json has all.
DIFFERENCES_SHOWN_MAX = 50
VALUE_SHOWN_MAX = 60
INTERRUPTED = "interrupted: the old read tables go on serving, what was built of the new ones is dropped"

_SILENT = logging.NullHandler()

Names = Annotated[list[str] | None, typer.Argument(metavar="[PROJECTION]...", help="All of them when left out")]


def named(names: list[str] | None) -> "list[Projection]":
    """The projections of these names; all of them without a name. Raises OperatorError."""
    from projector.projection import named as find
    from service.projections import PROJECTIONS

    if not names:
        return list(PROJECTIONS)
    found = {name: find(PROJECTIONS, name) for name in names}
    known = ", ".join(it.name for it in PROJECTIONS)
    for name, projection in found.items():
        if projection is None:
            raise OperatorError(f"there is no projection {name!r}; there are: {known}", MISUSE)
    return [projection for projection in found.values() if projection is not None]


def replay(
    projections: Names = None,
    processes: Annotated[int, typer.Option(help="Rebuild so many projections at the same time", min=1)] = 1,
    data_dir: DataDir = None,
) -> None:
    """Rebuild projections from the first event on, while their old tables serve; then let the new ones serve."""
    chosen = named(projections)
    url = connect.database_url(data_dir)
    if processes > 1 and len(chosen) > 1:
        with _explained(INTERRUPTED):
            for rebuilt in rebuilding.several(url, [it.name for it in chosen], processes):
                _tell(rebuilt)
    else:
        _one_by_one(url, chosen)
    acting.note(url, "projection.replayed", ", ".join(it.name for it in chosen))
    _tell_parked(url, chosen)


def _one_by_one(url: str, chosen: "list[Projection]") -> None:
    from service.cli import output

    for projection in chosen:
        with (
            _explained(INTERRUPTED),
            interruptible() as noticing,
            output.events_bar(f"rebuilding {projection.name}") as bar,
        ):
            rebuilt = rebuilding.one(url, projection, noticing(_reporting(bar.at)))
        _tell(rebuilt)


def _tell(rebuilt: rebuilding.Rebuilt) -> None:
    name, events, seconds = rebuilt
    print(f"rebuilt {name} from {events:,} events in {seconds:.1f} s ({events / seconds:,.0f} events/s)", flush=True)


def _reporting(at: Callable[[int, int], None]) -> "Report":
    return lambda progress: at(progress.position, progress.head)


def _tell_parked(url: str, projections: "list[Projection]") -> None:
    from projector.parked import held_back

    with connect.asking(url, "orders replay") as connection:
        held = {it.name: len(held_back(connection, it)) for it in projections}
    for name, number in held.items():
        if number:
            print(
                f"{name}: {number:,} streams are parked, because an event of theirs cannot be projected: orders parked"
            )


def verify(
    projections: Names = None,
    stream: Annotated[str | None, typer.Option(help="Only the rows of this stream, such as order-<id>")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all differences, as JSON")] = False,
    data_dir: DataDir = None,
) -> None:
    """Prove that read tables equal the fold of the log: exit code 0; or name what differs: exit code 1."""
    chosen = named(projections)
    if stream is not None:
        from service.cli.past import verify_stream

        verify_stream(chosen, bool(projections), stream, as_json, data_dir)
        return
    url = connect.database_url(data_dir)
    from projector.verify import verify as compare
    from service.cli import output

    verdicts = []
    for projection in chosen:
        with (
            _explained("interrupted: nothing was proved"),
            interruptible() as noticing,
            output.events_bar(f"folding the log for {projection.name}") as bar,
        ):
            verdicts.append(compare(url, projection, noticing(_reporting(bar.at))))
        if not as_json:
            print_verdict(verdicts[-1], f"orders replay {projection.name}")
    equal = not any(it.differences for it in verdicts)
    if as_json:
        output.json({"equal": equal, "projections": [_view(it) for it in verdicts]})
    if not equal:
        raise typer.Exit(NOT_TRUE)


def _view(verdict: "Verdict") -> dict[str, object]:
    return {
        "name": verdict.projection,
        "equal": not verdict.differences,
        "position": verdict.position,
        "rows": verdict.rows,
        "parked": verdict.parked,
        "differences": verdict.differences,
    }


@contextmanager
def interruptible() -> "Iterator[Callable[[Report], Report]]":
    """Yield what makes a report of progress notice a Ctrl-C that got lost, and raise it again.

    Python raises it wherever it happens to be. While psycopg waits for a lock, the time-out of that lock may come first
    and take its place.
    """
    # An interrupted transaction makes psycopg warn that its rollback failed. The connection ends in any case.
    logging.getLogger("psycopg").addHandler(_SILENT)
    interrupted = False

    def note(signal_number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.default_int_handler(signal_number, frame)

    def noticing(report: "Report") -> "Report":
        def checked(progress: "Progress") -> None:
            if interrupted:
                raise KeyboardInterrupt
            report(progress)

        return checked

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noticing
    finally:
        signal.signal(signal.SIGINT, before)


def print_verdict(verdict: "Verdict", remedy: str) -> None:
    """Print what differs, and what mends it: the command `remedy`."""
    from service.cli import output

    differences, name = verdict.differences, verdict.projection
    if differences:
        rows = [difference_row(difference) for difference in differences[:DIFFERENCES_SHOWN_MAX]]
        output.table("table", "row", "column", "stands", "should be", rows=rows)
        if len(differences) > DIFFERENCES_SHOWN_MAX:
            print(f"... and {len(differences) - DIFFERENCES_SHOWN_MAX:,} more: --json shows all")
    counted = ", ".join(f"{table} {number:,}" for table, number in verdict.rows.items())
    said = f"{len(differences):,} differences" if differences else "no difference"
    print(f"{name}: {said} between tables and log, at position {verdict.position:,} (rows: {counted})", flush=True)
    if verdict.parked:
        print(f"{name}: {verdict.parked:,} streams are parked, with the events they still lack: orders parked")
    if differences:
        print(f"rebuild them with: {remedy}")


def difference_row(difference: "Difference") -> list[str]:
    """A difference as a row of the printed table."""
    key = " ".join(str(value) for value in difference.key.values())
    if difference.column is None:
        there, missing = ("missing", "a row") if difference.stands is None else ("a row", "none")
        return [difference.table, key, "(row)", there, missing]
    return [difference.table, key, difference.column, _shown(difference.stands), _shown(difference.should_be)]


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= VALUE_SHOWN_MAX else text[: VALUE_SHOWN_MAX - 3] + "..."


@contextmanager
def _explained(interrupted: str) -> Iterator[None]:
    """What can come of building tables, in one line."""
    from psycopg.errors import InsufficientPrivilege

    from projector.checkpoint import OtherVersion
    from projector.dependents import InTheWay
    from projector.loop import AheadOfLog
    from projector.replay import SwapRefused
    from projector.shadow import Busy

    try:
        yield
    except (AheadOfLog, Busy, InTheWay, SwapRefused) as error:
        raise OperatorError(str(error)) from error
    except OtherVersion as error:
        raise OperatorError(f"{error}: rebuild them with `orders replay`, or run that release") from error
    except InsufficientPrivilege as error:
        raise OperatorError(f"{error.diag.message_primary}: it takes a role that may create schemas") from error
    except KeyboardInterrupt:
        raise OperatorError(interrupted) from None
