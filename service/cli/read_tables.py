"""`orders replay` and `orders verify`: rebuild the read tables, and prove them right."""

import gc
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import connect
from service.cli.failures import MISUSE, NOT_TRUE
from service.cli.run import DataDir
from service.errors import OperatorError

if TYPE_CHECKING:
    from projector.loop import Progress
    from projector.shadow import Report
    from projector.verify import Difference, Verdict

# The read tables share one checkpoint, so there is one thing to replay.
PROJECTION = "read_tables"
# More than anybody reads; --json has all.
DIFFERENCES_SHOWN_MAX = 50
VALUE_SHOWN_MAX = 60


def replay(
    projection: Annotated[
        str, typer.Argument(help="What to rebuild; the read tables are rebuilt together")
    ] = PROJECTION,
    data_dir: DataDir = None,
) -> None:
    """Rebuild the read tables from the first event on, while the old ones serve; then let the new ones serve."""
    if projection != PROJECTION:
        raise OperatorError(
            f"there is no projection {projection!r}: users, products, orders and order_items share one checkpoint and "
            f"are rebuilt together, as {PROJECTION}",
            MISUSE,
        )
    url = connect.database_url(data_dir)
    from projector.replay import replay as rebuild
    from service.cli import output

    _spare_the_collector()
    started = time.monotonic()
    with (
        _explained("interrupted: the old read tables go on serving, what was built of the new ones is dropped"),
        _interruptible() as noticing,
        output.events_bar(f"rebuilding {PROJECTION}") as bar,
    ):
        reached = rebuild(url, noticing(lambda progress: bar.at(progress.position, progress.head)))
    seconds = time.monotonic() - started
    rate = reached.position / seconds
    print(f"rebuilt {PROJECTION} from {reached.position:,} events in {seconds:.1f} s ({rate:,.0f} events/s)")
    _tell_parked(url)


def _tell_parked(url: str) -> None:
    from projector.parked import held_back

    with connect.asking(url, "orders replay") as connection:
        held = held_back(connection)
    if held:
        print(f"{len(held):,} streams are parked, because an event of theirs cannot be projected: orders parked")


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print all differences, as JSON")] = False,
    data_dir: DataDir = None,
) -> None:
    """Prove that the read tables equal the fold of the log: exit code 0; or name what differs: exit code 1."""
    url = connect.database_url(data_dir)
    from projector.verify import verify as compare
    from service.cli import output

    _spare_the_collector()
    with (
        _explained("interrupted: nothing was proved"),
        _interruptible() as noticing,
        output.events_bar("folding the log") as bar,
    ):
        verdict = compare(url, noticing(lambda progress: bar.at(progress.position, progress.head)))
    if as_json:
        output.json(
            {
                "equal": not verdict.differences,
                "position": verdict.position,
                "rows": verdict.rows,
                "parked": verdict.parked,
                "differences": verdict.differences,
            }
        )
    else:
        _print(verdict)
    if verdict.differences:
        raise typer.Exit(NOT_TRUE)


@contextmanager
def _interruptible() -> "Iterator[Callable[[Report], Report]]":
    """Yield what makes a report of progress notice a Ctrl-C that got lost, and raise it again.

    Python raises it wherever it happens to be. While psycopg waits for a lock, the time-out of that lock may come first
    and take its place.
    """
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


def _spare_the_collector() -> None:
    """Collect no cycles in this short-lived process: events are many objects in none, looked through for nothing."""
    gc.disable()


def _print(verdict: "Verdict") -> None:
    from service.cli import output

    differences = verdict.differences
    if differences:
        rows = [_row(difference) for difference in differences[:DIFFERENCES_SHOWN_MAX]]
        output.table("table", "row", "column", "stands", "should be", rows=rows)
        if len(differences) > DIFFERENCES_SHOWN_MAX:
            print(f"... and {len(differences) - DIFFERENCES_SHOWN_MAX:,} more: --json shows all")
    counted = ", ".join(f"{name} {number:,}" for name, number in verdict.rows.items())
    said = f"{len(differences):,} differences between" if differences else "no difference between"
    print(f"{said} the read tables and the log, at position {verdict.position:,} (rows: {counted})")
    if verdict.parked:
        print(f"{verdict.parked:,} streams are parked, with what they still lack: orders parked")
    if differences:
        print("rebuild them with: orders replay")


def _row(difference: "Difference") -> list[str]:
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

    # What an interrupted statement leaves behind is tidied up, and not worth a line.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    from projector.dependents import InTheWay
    from projector.replay import SwapRefused
    from projector.shadow import Busy

    try:
        yield
    except (Busy, InTheWay, SwapRefused) as error:
        raise OperatorError(str(error)) from error
    except InsufficientPrivilege as error:
        raise OperatorError(f"{error.diag.message_primary}: it takes a role that may create schemas") from error
    except KeyboardInterrupt:
        raise OperatorError(interrupted) from None
