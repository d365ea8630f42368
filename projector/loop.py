"""The projection loop: the one path from the log to the read tables, for live projection, replay and verify alike.

Look; lock the checkpoint; read the events behind it; fold them into row changes; write those; move the checkpoint;
commit. Rows and checkpoint are in one transaction, so every event takes effect exactly once, whoever crashes, and a
projector that was presumed dead cannot commit what another has done meanwhile.

An event that cannot be projected parks its stream (see projector/parking.py). If it is the tables that refuse what a
batch comes to, the batch is tried again in halves until one event is left: that one it is.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from psycopg import Connection, sql

from database import sessions
from database.sessions import Limits
from eventlog import arrays, read, skips, stalled
from eventlog.codec import Codec, UnreadableEvent
from eventlog.read import StoredEvent
from projector.narrowing import Narrowing, Refused, refusing
from projector.parking import Parked, Parking
from projector.projections import PROJECTIONS
from projector.projections.envelope import Envelope
from projector.rows import NewRows, Rows, write_new
from projector.write_behind import WriteBehind
from readmodel import tables

CHECKPOINT = "read_tables"
# Tables are locked for moments only: by a swap, or by a migration.
LOCK_SECONDS_MAX = 10
LIMITS = Limits(lock=LOCK_SECONDS_MAX, idle_in_transaction=stalled.SECONDS_MAX)
# A server whose machine is gone says nothing, however long we wait: the kernel gives up on it after this.
VANISHED_MS_MAX = 20_000
# A batch is read, folded and its new rows written in pages, so that a large one takes no more memory.
PAGE_EVENTS_MAX = 5_000

WORKER = f"{socket.gethostname()}:{os.getpid()}"


# Reads the events at positions after < position <= up_to.
ReadPage = Callable[[Connection, int, int], list[StoredEvent]]


class AheadOfLog(Exception):
    """The read tables have come further than the log goes: it was restored without them."""


class Fenced(Exception):
    """The checkpoint was moved by somebody else in the middle of a batch; this batch was rolled back."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the read tables are after a batch, and where they are to go: the log's head, or the end that was set.

    `parked` are the streams that the batch has parked.
    """

    position: int
    head: int
    events: int
    parked: tuple[Parked, ...] = ()

    @property
    def lag(self) -> int:
        """How many events there are still to project."""
        return max(0, self.head - self.position)


def connect(database_url: str, connection_class: type[Connection] = Connection, limits: Limits = LIMITS) -> Connection:
    """A connection for projecting."""
    connection = sessions.connect(
        database_url,
        "orders projector",
        limits,
        connection_class=connection_class,
        tcp_user_timeout=VANISHED_MS_MAX,
        keepalives_idle=VANISHED_MS_MAX // 2_000,
    )
    arrays.register(connection)
    return connection


class Loop:
    """Projects the log into the read tables of one schema."""

    def __init__(
        self, schema: str = tables.SCHEMA, codec: Codec | None = None, read_page: ReadPage = read.page
    ) -> None:
        self.schema = schema
        self.narrowing = Narrowing()
        self._read_page = read_page
        self._codec = codec or Codec()
        self._rows = Rows()
        checkpoint = sql.Identifier(schema, "checkpoint")
        self._look = sql.SQL(
            "SELECT checkpoint.position, head.position, checkpoint.parked, {last_skip} "
            "FROM {checkpoint} AS checkpoint, log.head AS head WHERE checkpoint.name = %s AND head.log_id = 0"
        ).format(checkpoint=checkpoint, last_skip=sql.SQL(skips.LAST_POSITION))
        self._lock = sql.SQL("SELECT FROM {} WHERE name = %s AND position = %s FOR UPDATE SKIP LOCKED").format(
            checkpoint
        )
        self._move = sql.SQL(
            "UPDATE {} SET position = %s, updated_at = clock_timestamp(), seen_at = clock_timestamp(), worker = %s, "
            "error = NULL, parked = %s WHERE name = %s AND position = %s"
        ).format(checkpoint)
        self._see = sql.SQL(
            "UPDATE {0} SET seen_at = clock_timestamp(), worker = %s, "
            "error = CASE WHEN position < %s THEN error END "
            "WHERE name = (SELECT name FROM {0} WHERE name = %s FOR UPDATE SKIP LOCKED)"
        ).format(checkpoint)
        self._fail = sql.SQL(
            "UPDATE {} SET error = %s, seen_at = clock_timestamp(), worker = %s WHERE name = %s"
        ).format(checkpoint)

    def look(self, connection: Connection) -> Progress:
        """Where the read tables and the log are. Costs no lock, and no write as one would."""
        position, head, _, _ = self._seen(connection)
        return Progress(position, head, 0)

    def project(self, connection: Connection, limit: int, until: int | None = None) -> Progress:
        """Project the next `limit` events, or those up to position `until`; what cannot be projected is parked.

        No events with a lag left means that another projector is at it, or has just been; waiting for it would only
        find its work done. Raises AheadOfLog, Fenced and psycopg.Error; then nothing has changed.
        """
        return self.narrowing.run(lambda events: self._project(connection, events, until), limit)

    def fold(self, events: list[StoredEvent], parking: Parking) -> None:
        """Turn events into row changes, but for those that are held back. Raises Refused."""
        rows = self._rows
        decode = self._codec.decode
        for number, stored in enumerate(events, 1):
            if parking.any and parking.holds_back(stored):
                continue
            position, stream, version, type_name, schema_version, occurred_at, data = stored
            try:
                event = decode(type_name, schema_version, data)
            except UnreadableEvent as error:
                parking.park(stored, str(error))
                continue
            if parking.any and (missing := parking.missing(event)):
                parking.park(stored, f"refers to a row that is not there: {missing} is parked", behind=missing)
                continue
            try:
                # "order-0190..." is the kind, a hyphen, and an id of 36 characters.
                PROJECTIONS[type(event)](event, Envelope(stream[-36:], version, occurred_at), rows)
            except Exception as error:
                # Whatever it is, it is this event's. It may have left some rows, so the batch begins anew without it.
                raise Refused(f"{type(error).__name__}: {error}", number, position) from error

    def write(self, connection: Connection, events: int, position: int) -> None:
        """Write what was folded of `events` events, the first of them at `position`. Raises Refused, psycopg.Error."""
        with refusing(events, position):
            self._rows.write(connection, self.schema)

    def beat(self, connection: Connection, head: int) -> None:
        """Leave word that a projector is alive and had nothing to project.

        Where the tables have reached `head`, the last failure is over.
        """
        with connection.transaction():
            connection.execute(self._see, (WORKER, head, CHECKPOINT))

    def report(self, connection: Connection, error: str) -> None:
        """Leave word why nothing is projected."""
        with connection.transaction():
            connection.execute(self._fail, (error, WORKER, CHECKPOINT))

    @contextmanager
    def all_or_nothing(self, connection: Connection) -> Iterator[None]:
        """Rows and checkpoint, all or nothing."""
        try:
            with connection.transaction():
                yield
        except BaseException:
            # What was folded is of a batch that never was.
            self._rows = Rows()
            raise

    def _project(self, connection: Connection, limit: int, until: int | None) -> Progress:
        position, end, parked, last_skip = self._seen(connection)
        if position > end:
            raise AheadOfLog(f"the read tables are at position {position}, the log ends at {end}: run `orders replay`")
        head = end if until is None else min(end, until)
        up_to = min(position + limit, head)
        if up_to <= position:
            return Progress(position, head, 0)
        with self.all_or_nothing(connection):
            if not connection.execute(self._lock, (CHECKPOINT, position)).rowcount:
                return Progress(position, head, 0)
            if parked or last_skip > position:
                parking = Parking.load(connection, self.schema, position, up_to, self.narrowing.given_up)
            else:
                parking = Parking(given_up=self.narrowing.given_up)
            self._fold_pages(connection, position, up_to, parking)
            self.write(connection, up_to - position, position + 1)
            parking.write(connection, self.schema)
            moved = connection.execute(self._move, (up_to, WORKER, parking.count, CHECKPOINT, position))
            if moved.rowcount != 1:
                raise Fenced(f"the checkpoint is no longer at {position}")
        self.narrowing.passed(up_to)
        return Progress(up_to, head, up_to - position, tuple(parking.new))

    def _fold_pages(self, connection: Connection, position: int, up_to: int, parking: Parking) -> None:
        """Fold the events at positions after < position <= up_to. Of all pages but the last the new rows are written.

        That is done while the next page is folded.
        """
        with WriteBehind() as behind:
            for after in range(position, up_to, PAGE_EVENTS_MAX):
                page_end = min(after + PAGE_EVENTS_MAX, up_to)
                behind.wait()
                events = self._read_page(connection, after, page_end)
                if after > position:
                    behind.start(partial(self._write_new, connection, self._rows.take_new(), after))
                self.fold(events, parking)
            behind.wait()

    def _write_new(self, connection: Connection, new: list[NewRows], up_to: int) -> None:
        """Write the new rows of the page that ends at position `up_to`."""
        with refusing(PAGE_EVENTS_MAX, up_to - PAGE_EVENTS_MAX + 1):
            write_new(new, connection, self.schema)

    def _seen(self, connection: Connection) -> tuple[int, int, int, int]:
        row = connection.execute(self._look, (CHECKPOINT,)).fetchone()
        assert row is not None, "the migration made the checkpoint"
        return row
