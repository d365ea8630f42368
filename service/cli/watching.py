"""`orders status --watch`: redraws the terminal, or prints a JSON object a line where there is none."""

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from projector.status import Standing
from service.cli import output
from service.cli.failures import explain
from service.cli.status import COLUMNS, Look, document, name_of, row, troubles


def watch(look: Callable[[], Look], interval: float, as_json: bool) -> None:
    """Show what `look` finds every `interval` seconds, until q or Ctrl-C.

    While the database does not answer, that is shown instead.
    """
    with contextlib.suppress(KeyboardInterrupt):
        if as_json or not sys.stdout.isatty():
            _print_lines(look, interval)
        else:
            _draw_frames(look, interval)


def _print_lines(look: Callable[[], Look], interval: float) -> None:
    while True:
        found = _tried(look)
        shown = {"error": found} if isinstance(found, str) else document(found)
        print(output.printable(msgspec.json.encode(shown)), flush=True)
        time.sleep(interval)  # the interval that the operator asked for


def _draw_frames(look: Callable[[], Look], interval: float) -> None:
    before: Look | None = None
    with _pressed() as has_pressed_q, Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            found = _tried(look)
            live.update(_frame(found, before), refresh=True)
            before = before if isinstance(found, str) else found
            if has_pressed_q(interval):
                return


def _tried(look: Callable[[], Look]) -> Look | str:
    """The status, or the reason why the servers do not answer. Raises errors that no operator can cause."""
    try:
        return look()
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        return explained[0]


@contextlib.contextmanager
def _pressed() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits for some seconds, or until q is pressed, and returns whether it was pressed."""
    keyboard = [sys.stdin.fileno()] if sys.stdin.isatty() else []
    before = [termios.tcgetattr(it) for it in keyboard]

    def pressed(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            ready, *_ = select.select(keyboard, [], [], left)
            if any(os.read(it, 1) in {b"q", b"Q", b""} for it in ready):
                return True
        return False

    try:
        for it in keyboard:
            tty.setcbreak(it)
        yield pressed
    finally:
        for it, settings in zip(keyboard, before, strict=True):
            termios.tcsetattr(it, termios.TCSADRAIN, settings)


def _frame(found: Look | str, before: Look | None) -> Panel:
    moment = time.strftime("%H:%M:%S")
    if isinstance(found, str):
        return Panel(Text(found, style="red"), title=f"orders status · no answer · {moment}", subtitle="q quit")
    earlier = {name_of(it): it for it in before.standings} if before else {}
    rows = output.table_of(
        (*COLUMNS, "rate"), [[*row(it), _rate(it, earlier.get(name_of(it)))] for it in found.standings]
    )
    told = troubles(found)
    state = "needs a look" if told else "projections are well"  # orders doctor looks at more
    return Panel(
        Group(rows, Text(""), *(Text(it, style="red") for it in told), Text(f"workers: {found.listening}")),
        title=f"orders status · {state} · head {found.status.head:,} · {moment}",
        subtitle="q quit · orders doctor --quick looks at the servers too",
    )


def _rate(now: Standing, before: Standing | None) -> str:
    elapsed = (now.now - before.now).total_seconds() if before else 0
    return f"{(now.position - before.position) / elapsed:,.0f}/s" if before and elapsed > 0 else ""
