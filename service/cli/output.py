"""How commands print: tables for people, JSON for programs, progress on stderr, where it is in nobody's way."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

# Not a terminal: nothing is cut to a width that nobody has.
_FILE_WIDTH = 200

_BEYOND_ASCII = re.compile("[^\n -~]")


def table(*columns: str, rows: list[list[str]]) -> None:
    """Print a table on stdout."""
    shown = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        # Data, never markup; and no control characters that a terminal would obey.
        shown.add_row(*[Text(cell if cell.isprintable() else ascii(cell)[1:-1]) for cell in row])
    Console(width=None if sys.stdout.isatty() else _FILE_WIDTH, highlight=False).print(shown)


def json(document: object) -> None:
    """Print a JSON document on stdout."""
    print(printable(msgspec.json.format(msgspec.json.encode(document), indent=2)))


def printable(document: bytes) -> str:
    """JSON in which all characters are escaped that a terminal would obey, or that would hide others."""
    return _BEYOND_ASCII.sub(lambda it: it[0] if it[0].isprintable() else dumps(it[0])[1:-1], document.decode())


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f} of {task.total or 0:,.0f} events, {task.speed or 0:,.0f}/s")


class EventsBar:
    """A progress bar that counts events; invisible when stderr is no terminal."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=None)

    def at(self, position: int, head: int) -> None:
        """Show that `position` of `head` is reached."""
        self._progress.update(self._task, completed=position, total=head)


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Yield what shows the name of the step that is under way; invisible when stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield status.update


@contextmanager
def events_bar(title: str) -> Iterator[EventsBar]:
    """A progress bar with rate and time to go, for as long as the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        _Count(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield EventsBar(progress, title)
