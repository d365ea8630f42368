"""`orders import`: whole shops from files, with a progress bar, a summary and a rate."""

import asyncio
import json
import logging
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from command.domain.currencies import CURRENCIES
from command.importing import files
from command.importing.csv_rows import TEMPLATES
from command.importing.reasons import DIFFERS
from command.importing.rejects import Rejects
from command.importing.run import Stopped, Summary, import_files
from console.imports import REPAIR
from service import import_runs
from service.cli import connect, output
from service.errors import DONE, INTERRUPTED, MISUSE, NOT_TRUE, OperatorError
from service.garbage import collect_seldom

SHOW_EVERY_SECONDS = 0.2

Files = Annotated[Path, typer.Argument(help="A file of JSON lines or CSV, or a folder of them; .gz too")]
Currency = Annotated[str | None, typer.Option(help="Currency of rows that carry none, such as GBP")]
RejectsPath = Annotated[Path, typer.Option("--rejects", help="Where refused rows go; written anew")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if any row was refused")]
Retry = Annotated[bool, typer.Option("--retry", help="Take rows that an earlier import of this file refused")]


def _print_template(kind: str | None) -> None:
    if kind is None:
        return
    if kind not in TEMPLATES:
        raise OperatorError(f"there is no template {kind}; there are {', '.join(TEMPLATES)}", exit_code=MISUSE)
    print(TEMPLATES[kind], end="")
    raise typer.Exit


Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        callback=_print_template,
        is_eager=True,
        help="Print a CSV file to begin with: users, products, orders",
    ),
]


def import_(
    path: Files,
    currency: Currency = None,
    rejects: RejectsPath = Path("rejects.jsonl"),
    strict: Strict = False,
    retry: Retry = False,
    as_json: output.AsJson = False,
    data_dir: connect.DataDir = None,
    template: Template = None,
) -> None:
    """Import users, products and orders from JSON lines or CSV, by the rules that HTTP keeps. Safe to repeat.

    Of a folder: its users*, products*, commands* and orders* files. A refused row goes to the rejects file with its
    reason, and the rest goes on.

    Example: orders import shop/ --currency EUR
    """
    if currency is not None and currency not in CURRENCIES:
        raise OperatorError(f"--currency {currency} is no ISO 4217 code such as GBP", exit_code=MISUSE)
    try:
        paths = files.find(path)
    except OSError as error:
        said = error.strerror or str(error)
        raise OperatorError(f"{path}: {said}" if error.filename else said, exit_code=MISUSE) from None
    _tell_left_out(path, rejects)
    orders: dict[int, int] = {}
    for each in paths:
        if reason := files.misfit(each, orders):
            raise OperatorError(reason, exit_code=MISUSE)
        if names := files.ignored(each):
            output.line(f"orders: {each}: no row has a use for the columns {', '.join(names)[:200]!r}", to_stderr=True)
    if rejects.exists() and any(rejects.samefile(each) for each in paths):
        raise OperatorError(f"{rejects} is imported itself: name another file with --rejects", exit_code=MISUSE)
    database_url = connect.database_url(data_dir)

    started = time.perf_counter()
    with _Bar(sum(each.stat().st_size for each in paths)) as bar:
        summary = _import(database_url, paths, currency, rejects, retry, bar)
    report = _report(summary, time.perf_counter() - started, rejects)
    print(json.dumps(report, indent=2) if as_json else _text(report))
    if differing := summary.refused[DIFFERS]:
        said = f"orders: {differing} not imported, with a number that is there with another content: see {rejects}"
        output.line(said, to_stderr=True)
    for damaged in summary.damaged:
        output.line(f"orders: {damaged} could not be read to its end, see {rejects}", to_stderr=True)
    sys.exit(NOT_TRUE if summary.damaged or (strict and summary.refused) else DONE)


def _tell_left_out(path: Path, rejects: Path) -> None:
    for why, names in (
        ("unless you name them", [name for name in files.left_out(path) if name != rejects.name]),
        (f"because they end in none of {', '.join(files.SUFFIXES)}", files.of_other_endings(path)),
    ):
        if names:
            output.line(f"orders: {path}: left out, {why}: {', '.join(names)[:200]}", to_stderr=True)


def _import(
    database_url: str, paths: list[Path], currency: str | None, rejects: Path, retry: bool, bar: "_Bar"
) -> Summary:
    # The command prints an outage itself, in one line, so the writer's log lines are dropped.
    logging.getLogger("command").addHandler(logging.NullHandler())
    collect_seldom()
    into = Rejects(rejects)
    try:
        with import_runs.recorded(database_url, paths, into, lambda: bar.bytes_read) as summary, into:
            return asyncio.run(import_files(database_url, paths, into, currency, bar.note, retry, summary))
    except Stopped as stopped:
        raise OperatorError(
            f"the import stopped at line {stopped.number} of {stopped.file}: {stopped.cause}; what came before it is "
            "in: run the same command again, nothing is imported twice"
        ) from stopped
    except KeyboardInterrupt:
        raise OperatorError(
            f"interrupted after {bar.rows:,} rows: they are in, or in {rejects}; run the same command again to go "
            "on, nothing is imported twice",
            exit_code=INTERRUPTED,
        ) from None
    except OSError as error:
        raise OperatorError(f"cannot write {rejects}: {error.strerror}; name another file with --rejects") from None


def _report(summary: Summary, seconds: float, rejects: Path) -> dict[str, Any]:
    return {
        "accepted": summary.accepted,
        "already_there": summary.already_there,
        "refused": summary.refused.total(),
        "total": summary.total,
        "refused_by_code": dict(summary.refused.most_common()),
        "rejects": str(rejects),
        "damaged_files": summary.damaged,
        "events": summary.events,
        "seconds": round(seconds, 3),
        "rows_per_second": round(summary.total / seconds),
        "events_per_second": round(summary.events / seconds),
    }


def _text(report: dict[str, Any]) -> str:
    lines = [
        "accepted {accepted}, already there {already_there}, refused {refused}, total {total}",
        "{events} events in {seconds:.1f} s: {rows_per_second} rows/s, {events_per_second} events/s",
    ]
    if report["refused"]:
        codes = ", ".join(f"{code} {count}" for code, count in report["refused_by_code"].items())
        lines.append(f"refused, see {{rejects}}: {codes}")
        lines.append(f"to repair: {REPAIR}")
    return "\n".join(lines).format(**report)


class _Bar(Progress):
    """A bar of the bytes read, on stderr; invisible when stderr is no terminal."""

    def __init__(self, total_bytes: int) -> None:
        console = Console(stderr=True)
        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rows]}"), TimeRemainingColumn())
        super().__init__(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._import = self.add_task("import", total=total_bytes, rows="")
        self.rows = self.bytes_read = 0
        self._started = self._shown = time.perf_counter()

    def note(self, bytes_read: int, rows: int) -> None:
        """Show it, a few times a second and not at every row."""
        self.rows, self.bytes_read = rows, bytes_read
        now = time.perf_counter()
        if now - self._shown > SHOW_EVERY_SECONDS:
            self._shown = now
            rate = rows / (now - self._started)
            self.update(self._import, completed=bytes_read, rows=f"{rows:,} rows, {rate:,.0f}/s")
