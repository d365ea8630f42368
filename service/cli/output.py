"""How commands print: tables and JSON on stdout, progress on stderr."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import EBADF
from json import dumps
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from console.words import counted
from service.errors import OperatorError
from service.logs import escaped

if TYPE_CHECKING:  # few commands fold the log
    from projector.shadow import Report
    from projector.verify import Difference

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]

# Output to a file or a pipe is not cut to the width of a terminal.
_FILE_WIDTH = 200

VALUE_SHOWN_MAX = 60
# --json has all.
DIFFERENCES_SHOWN_MAX = 50

_BEYOND_ASCII = re.compile("[^\n -~]")


def line(text: str, *, to_stderr: bool = False) -> None:
    """Print a line that has data in it: nothing of it begins a line or is obeyed by a terminal."""
    print(escaped(text), file=sys.stderr if to_stderr else sys.stdout, flush=True)


def secret(text: str, lost: str) -> None:
    """Print a secret that is shown only this once. Raises OperatorError with the sentence `lost` where it cannot."""
    try:
        if getattr(sys.stdout, "name", "") == os.devnull:  # it was closed at the start: see `service.cli`
            raise OSError(EBADF, os.strerror(EBADF))
        print(text, flush=True)
    except OSError as error:
        # Python flushes once more when it ends, and would print a second message.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OperatorError(f"{error.strerror}: {lost}") from None


def table(*columns: str, rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table."""
    Console(width=None if sys.stdout.isatty() else _FILE_WIDTH, highlight=False).print(table_of(columns, rows))


def table_of(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A table of cells with data, which is never markup. A Text keeps its style."""
    whole = [Column(it, overflow="fold") for it in columns]  # a narrow terminal wraps cells, and cuts none off
    made = Table(*whole, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        made.add_row(*[cell if isinstance(cell, Text) else Text(escaped(cell)) for cell in row])
    return made


def comparison(
    name: str, between: str, rows: Mapping[str, int], found: int, differences: "Sequence[Difference]", rest: str = ""
) -> None:
    """Print the differences that a projection has, and their number. `rest` says how to see those left out."""
    cells = []
    for it in differences[:DIFFERENCES_SHOWN_MAX]:
        key = " ".join(str(value) for value in it.key.values())
        if it.column is None:
            of_row = ["(row)", "missing", "a row"] if it.stands is None else ["(row)", "a row", "none"]
        else:
            of_row = [it.column, value(it.stands), value(it.should_be)]
        cells.append([it.table, key, *of_row])
    if cells:
        table("table", "row", "column", "stands", "should be", rows=cells)
    if found > len(cells):
        print(f"... and {found - len(cells):,} more{rest}")
    said = counted(found, "difference") if found else "no difference"
    counts = ", ".join(f"{table} {number:,}" for table, number in rows.items())
    print(f"{name}: {said} between {between} (rows: {counts})", flush=True)


def value(of: object) -> str:
    """A value in a cell: text as it is, anything else as JSON; cut to VALUE_SHOWN_MAX characters."""
    return short(of if isinstance(of, str) else msgspec.json.encode(of).decode(), VALUE_SHOWN_MAX)


def short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def json(document: object) -> None:
    print(printable(msgspec.json.format(msgspec.json.encode(document), indent=2)))


def printable(document: bytes) -> str:
    """JSON in which all characters are escaped that a terminal would obey, or that would hide others."""
    return _BEYOND_ASCII.sub(lambda it: it[0] if it[0].isprintable() else dumps(it[0])[1:-1], document.decode())


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f} of {task.total or 0:,.0f} events, {task.speed or 0:,.0f}/s")


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Yield what shows the name of the step that is under way; invisible when stderr is no terminal."""
    with Console(stderr=True).status("") as status:
        yield status.update


@contextmanager
def events_bar(title: str) -> "Iterator[Report]":
    """Yield what shows progress as a bar that counts events; invisible when stderr is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), _Count(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Without a thread that refreshes it: `orders replay` forks while the bar is shown.
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, auto_refresh=False
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda at: progress.update(task, completed=at.position, total=at.head, refresh=True)
