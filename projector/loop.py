"""The projection loop: the one path from the log to read tables, for live projection, replay and verify alike.

Look; lock the checkpoint; read the events behind it; fold them into row changes; write those; move the checkpoint;
commit. Rows and checkpoint are in one transaction, so every event takes effect exactly once, whichever process crashes,
and a projector that was presumed dead cannot commit work that another one has done meanwhile.

An event that cannot be projected parks its stream (projector/parking.py). When the tables refuse a whole batch, the
loop tries it again in halves until one event is left, and parks the stream of that event (projector/narrowing.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from psycopg import Connection

from eventlog import skips
from projector.checkpoint import AheadOfLog, Seen
from projector.folding import Folding
from projector.narrowing import Narrowing, refusing
from projector.paging import BATCH_PAGES_MAX, BATCH_SECONDS, CHANGED_ROWS_MAX, PAGE_MAX, PageMax, ReadPage, reader_of
from projector.parking import Parked, ParkedStreams, Parking
from projector.projection import Projection
from projector.writer import PostgresWriter, Writer


@dataclass(frozen=True, slots=True)
class Progress:
    """The position of the tables after a batch, and the goal: the log's head, or the end that was set.

    `parked` are the streams that the batch has parked. `fold_seconds` include `read_seconds`.
    """

    position: int
    head: int
    events: int
    parked: tuple[Parked, ...] = ()
    read_seconds: float = 0.0
    fold_seconds: float = 0.0
    write_seconds: float = 0.0
    commit_seconds: float = 0.0

    @property
    def lag(self) -> int:
        return max(0, self.head - self.position)


class Loop:
    """Projects the log into the tables of one projection: in its own schema, in `schema`, or where `writer` writes."""

    def __init__(
        self,
        projection: Projection,
        schema: str | None = None,
        read_page: ReadPage | None = None,
        page_max: PageMax = PAGE_MAX,
        writer: Writer | None = None,
        batch_seconds: float = BATCH_SECONDS,
    ) -> None:
        self.projection = projection
        self.schema = schema or projection.name
        self.writer = writer or PostgresWriter(projection, self.schema)
        self.folding = Folding(projection)
        self.narrowing = Narrowing()
        self.parked = ParkedStreams(self.writer.kept)
        self._read_page = read_page or reader_of(projection, page_max)
        self._batch_seconds = batch_seconds

    def look(self, connection: Connection) -> Progress:
        """Where the tables and the log are. Takes no lock and writes nothing. Raises OtherVersion."""
        seen = self.writer.look(connection)
        return Progress(seen.position, seen.head, 0)

    def project(self, connection: Connection, limit: int, until: int | None = None) -> Progress:
        """Project the next `limit` events, or those up to position `until`; park what cannot be projected.

        No events with a lag left: another projector is working. Raises AheadOfLog, Fenced, OtherVersion, psycopg.Error;
        then nothing has changed.
        """
        return self.narrowing.run(lambda events: self._project(connection, events, until), limit)

    def _project(self, connection: Connection, limit: int, until: int | None) -> Progress:
        seen = self.writer.look(connection)
        position = seen.position
        if position > seen.head:
            name = self.projection.name
            raise AheadOfLog(f"{name} is at position {position}, the log ends at {seen.head}: run `orders replay`")
        head = seen.head if until is None else min(seen.head, until)
        goal = min(position + limit, head)
        if goal <= position:
            return Progress(position, head, 0)
        with self.all_or_nothing(connection):
            if not self.writer.lock(connection, seen):
                return Progress(position, head, 0)
            parking = self._parking(connection, seen, goal)
            began = perf_counter()
            up_to, read_seconds = self._fold_pages(connection, position, goal, parking)
            folded = perf_counter()
            self.folding.write(connection, self.writer, up_to - position, position + 1)
            self.writer.write_parked(connection, parking)
            self.writer.move(connection, seen, up_to, parking.count, parking.has_changed)
            written = perf_counter()
        committed = perf_counter()
        self.parked.committed(parking, seen.parked_changes)
        self.narrowing.passed(up_to)
        seconds = (read_seconds, folded - began, written - folded, committed - written)
        return Progress(up_to, head, up_to - position, tuple(parking.new.values()), *seconds)

    @contextmanager
    def all_or_nothing(self, connection: Connection) -> Iterator[None]:
        try:
            with self.writer.transaction(connection):
                yield
        except BaseException:
            self.folding.clear()
            raise

    def _parking(self, connection: Connection, seen: Seen, goal: int) -> Parking:
        name = self.projection.name
        parked = self.parked.load(connection, seen.parked_changes)
        skipped = skips.positions(connection, name, seen.position, goal) if seen.last_skip > seen.position else ()
        return Parking(parked, skipped, self.narrowing.given_up)

    def _fold_pages(self, connection: Connection, position: int, goal: int, parking: Parking) -> tuple[int, float]:
        """Fold pages up to the goal while there is time and room; write the new rows of all but the last.

        Returns the position where the last one ends, and the seconds of reading.
        """
        began, end = perf_counter(), position
        read_seconds = 0.0
        for pages_left in reversed(range(BATCH_PAGES_MAX)):
            reading = perf_counter()
            page, end = self._read_page(connection, end, goal)
            read_seconds += perf_counter() - reading
            self.folding.fold(page, parking)
            changed = self.folding.rows.changed + len(parking.new)
            is_full = changed > CHANGED_ROWS_MAX or perf_counter() - began > self._batch_seconds
            if end == goal or not pages_left or is_full:
                break
            with refusing(end - position, position + 1):
                self.writer.write_new(connection, self.folding.rows.take_new())
        return end, read_seconds
