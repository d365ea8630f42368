"""The import itself: rows in, commands submitted in order through the writer, what became of each counted."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from command.domain.refusals import ExternalIdTaken, Refused, SkuTaken
from command.importing import csv_rows, files, history, reasons
from command.importing.history import Settled
from command.importing.line import Line, Reason
from command.importing.placing import Differs
from command.importing.rejects import Rejects
from command.importing.returning import AlreadyCancelled
from command.importing.translation import translate
from command.states import States
from command.submission import Answer, Command, Outcome, OutcomeUnknown, Overloaded, Submission, Unavailable
from command.writer import Writer
from eventlog import connecting, origins
from eventlog.codec import UnreadableEvent, encode
from eventlog.ids import new_id

# Rows under way: enough to prepare the writer's next batch while it commits one. Their commands take several times the
# memory of the rows.
WINDOW_ROWS, WINDOW_BYTES = 400, 4 * 1024 * 1024
ROWS_AT_ONCE = 50  # that are read together; a row has 1 MiB at most
# What becomes of a row: refused already, or with its command at the writer.
_Becomes = Reason | asyncio.Future[Answer]


@dataclass(slots=True)
class Summary:
    """The rows by outcome. `refused` counts by code; `damaged` are files that could not be read to their end."""

    accepted: int = 0
    already_there: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    events: int = 0
    damaged: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.accepted + self.already_there + self.refused.total()


class Stopped(Exception):
    """The database went away: rows from `file`, line `number` on are not in. The import can be run again as it is."""

    def __init__(self, file: Path, number: int, cause: str) -> None:
        super().__init__(cause)
        self.file = file
        self.number = number
        self.cause = cause


class _NotReached(Refused):
    """A row before this one is undecided, so this one is not decided either."""


class _RefusedBefore(Refused):
    """The row was refused when its file was imported before, and later rows of the file are in."""


@dataclass(slots=True)
class _InOrder:
    """A command that is decided only if all before it were: what is in is always a beginning of the files."""

    command: Command
    importer: "Importer"
    settled: bool

    def reads(self, states: States) -> Iterable[str]:
        return self.command.reads(states)

    def decide(self, states: States) -> Outcome:
        if self.importer.stopped:
            raise _NotReached
        outcome = self.command.decide(states)
        if self.settled:
            raise _RefusedBefore
        # An import does not use the answers, so it makes none.
        return outcome._replace(answer=lambda _: Answer(200))


async def import_files(
    database_url: str,
    paths: Sequence[Path],
    rejects: Rejects,
    currency: str | None,
    has_read: Callable[[int, int], None] = lambda _bytes, _rows: None,
    retry: bool = False,
    summary: Summary | None = None,
) -> Summary:
    """Import the files, in order.

    `currency` is for rows that carry none. `has_read` gets the bytes read of all files and the rows done; both grow.
    `retry` takes rows that an earlier import of the same file refused. `summary` counts the rows while they are done.
    Raises Stopped, psycopg.Error when the database cannot be reached at the start, and OSError when the rejects file
    cannot be written.
    """
    async with await connecting.connect(database_url) as connection:
        settled = [await history.look(connection, path) for path in paths]
    if retry:
        settled = [each._replace(up_to_line=0) for each in settled]
    # No bell is rung: workers look by themselves every second, and an import needs no broker.
    writer = Writer(database_url, lambda: None, is_patient=True)
    await writer.start()
    try:
        importer = Importer(writer, rejects, currency, has_read, summary or Summary())
        return await importer.run(list(zip(paths, settled, strict=True)))
    finally:
        await writer.stop()


@dataclass(slots=True)
class Importer:
    writer: Writer
    rejects: Rejects
    currency: str | None
    has_read: Callable[[int, int], None]
    summary: Summary
    stopped: bool = False
    _pending: deque[tuple[Path, Line, _Becomes]] = field(default_factory=deque)
    _pending_bytes: int = 0

    async def run(self, paths: Sequence[tuple[Path, Settled]]) -> Summary:
        """Import the files, each given with its settled rows."""
        before = 0
        for path, settled in paths:
            bytes_read = 0

            def note(bytes_of_file: int) -> None:
                nonlocal bytes_read
                bytes_read = bytes_of_file

            lines = files.read(path, note)
            # A thread reads: a stretch without a row may be long, and the writer may hold the log's head meanwhile.
            while some := await asyncio.to_thread(_next, lines):
                for line in some:
                    self._pending.append((path, line, self._begin(path, settled, line)))
                    self._pending_bytes += len(line.content)
                    # The writer gets its turn between any two rows, not only when it is waited for.
                    await asyncio.sleep(0)
                    await self._finish(WINDOW_ROWS)
                    self.has_read(before + bytes_read, self.summary.total)
            before += bytes_read
        await self._finish(0)
        self.has_read(before, self.summary.total)
        return self.summary

    def _begin(self, path: Path, settled: Settled, line: Line) -> _Becomes:
        if line.reason is not None:
            if line.reason.code == files.DAMAGED:
                self.summary.damaged.append(str(path))
            return line.reason
        wanted = translate(line.content, files.kind_of(path), self.currency)
        if isinstance(wanted, Reason):
            if line.rows:
                wanted = wanted._replace(detail=csv_rows.columns_named(wanted.detail, line))
            return wanted
        command = _InOrder(wanted.command, self, settled=line.number <= settled.up_to_line)
        actor = {"kind": "import", "id": settled.file}
        metadata = {"actor": actor, "command_id": new_id(), **origins.origin(settled.file, line.number)}
        future = self.writer.submit(Submission(command, encode(metadata), occurred_at=wanted.occurred_at))
        future.add_done_callback(self._stop_at_outage)
        return future

    def _stop_at_outage(self, future: asyncio.Future[Answer]) -> None:
        """Called before the writer can decide what was submitted later: it needs a connection first."""
        if not future.cancelled() and (error := future.exception()) is not None:
            self.stopped = self.stopped or not isinstance(error, Refused | UnreadableEvent)

    async def _finish(self, most: int) -> None:
        """Count rows that are done, from the first on, until at most `most` rows of WINDOW_BYTES are under way."""
        while self._pending:
            file, line, becomes = self._pending[0]
            if isinstance(becomes, asyncio.Future):
                if len(self._pending) <= most and self._pending_bytes <= WINDOW_BYTES and not becomes.done():
                    break
                await asyncio.wait([becomes])
            self._pending.popleft()
            self._pending_bytes -= len(line.content)
            self._count(file, line, becomes)

    def _count(self, file: Path, line: Line, became: _Becomes) -> None:
        if isinstance(became, Reason):
            self._refuse(file, line, became)
            return
        match became.exception():
            case None:
                self.summary.accepted += 1
                self.summary.events += became.result().appended
            case Differs() as differing:
                self._refuse(file, line, reasons.of_refusal(differing))
            case ExternalIdTaken() | SkuTaken() | AlreadyCancelled():
                self.summary.already_there += 1
            case Unavailable() | OutcomeUnknown() | Overloaded() as outage:
                raise Stopped(file, line.number, getattr(outage, "cause", str(outage)))
            case _RefusedBefore():
                self._refuse(file, line, _REFUSED_BEFORE)
            case Refused() | UnreadableEvent() as refusal:
                self._refuse(file, line, reasons.of_refusal(refusal))
            case error:
                raise error

    def _refuse(self, file: Path, line: Line, reason: Reason) -> None:
        self.summary.refused[reason.code] += 1
        self.rejects.write(file, line, reason)


def _next(lines: Iterator[Line]) -> list[Line]:
    return list(islice(lines, ROWS_AT_ONCE))


_REFUSED_BEFORE = Reason(
    "refused-before",
    "The row was refused when this file was imported before, and later rows of it are in; to try it again, import it "
    "in a file of its own, or with --retry.",
)
