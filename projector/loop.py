"""The projection loop: the one path from the log to the read tables, for live projection, replay and verify alike.

Look; lock the checkpoint; read the events behind it; fold them into row changes; write those; move the checkpoint;
commit. Rows and checkpoint are in one transaction, so every event takes effect exactly once, whoever crashes, and a
projector that was presumed dead cannot commit what another has done meanwhile.
"""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import Connection, sql

from eventlog import arrays, read
from eventlog.codec import Codec, UnreadableEvent
from eventlog.read import StoredEvent
from projector.projections import PROJECTIONS
from projector.projections.envelope import Envelope
from projector.rows import Rows
from readmodel import tables

CHECKPOINT = "read_tables"
# A projector that stops in the middle of a batch holds the checkpoint no longer than this, so another can take over.
STALLED_SECONDS_MAX = 5
# Tables are locked for moments only: by a swap, or by a migration.
LOCK_SECONDS_MAX = 10
CONNECT_SECONDS_MAX = 5
# A batch is read, folded and its new rows written in pages, so that a large one takes no more memory.
PAGE_EVENTS_MAX = 10_000

WORKER = f"{socket.gethostname()}:{os.getpid()}"


# Reads the events at positions after < position <= up_to.
ReadPage = Callable[[Connection, int, int], list[StoredEvent]]


class ProjectionFailed(Exception):
    """An event cannot be projected; the batch it is in was rolled back."""


class Fenced(Exception):
    """The checkpoint was moved by somebody else in the middle of a batch; this batch was rolled back."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the read tables are after a batch, and where they are to go: the log's head, or the end that was set."""

    position: int
    head: int
    events: int

    @property
    def lag(self) -> int:
        """How many events there are still to project."""
        return max(0, self.head - self.position)


def connect(database_url: str) -> Connection:
    """A connection for projecting."""
    connection = psycopg.connect(
        database_url, autocommit=True, application_name="orders projector", connect_timeout=CONNECT_SECONDS_MAX
    )
    arrays.register(connection)
    connection.execute("SET timezone = 'UTC'")
    connection.execute(f"SET idle_in_transaction_session_timeout = '{STALLED_SECONDS_MAX}s'")
    connection.execute(f"SET lock_timeout = '{LOCK_SECONDS_MAX}s'")
    return connection


class Loop:
    """Projects the log into the read tables of one schema."""

    def __init__(
        self, schema: str = tables.SCHEMA, codec: Codec | None = None, read_page: ReadPage = read.page
    ) -> None:
        self._schema = schema
        self._read_page = read_page
        self._codec = codec or Codec()
        self._rows = Rows()
        checkpoint = sql.Identifier(schema, "checkpoint")
        self._look = sql.SQL(
            "SELECT checkpoint.position, head.position FROM {} AS checkpoint, log.head AS head "
            "WHERE checkpoint.name = %s AND head.log_id = 0"
        ).format(checkpoint)
        self._lock = sql.SQL("SELECT FROM {} WHERE name = %s AND position = %s FOR UPDATE SKIP LOCKED").format(
            checkpoint
        )
        self._move = sql.SQL(
            "UPDATE {} SET position = %s, updated_at = clock_timestamp(), seen_at = clock_timestamp(), worker = %s, "
            "error = NULL WHERE name = %s AND position = %s"
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
        row = connection.execute(self._look, (CHECKPOINT,)).fetchone()
        assert row is not None, "the migration made the checkpoint"
        return Progress(row[0], row[1], 0)

    def project(self, connection: Connection, limit: int, until: int | None = None) -> Progress:
        """Project the next `limit` events, or those up to position `until`.

        No events with a lag left means that another projector is at it, or has just been; waiting for it would only
        find its work done. Raises ProjectionFailed, Fenced and psycopg.Error; then nothing has changed.
        """
        seen = self.look(connection)
        position = seen.position
        head = seen.head if until is None else min(seen.head, until)
        up_to = min(position + limit, head)
        if up_to <= position:
            return Progress(position, head, 0)
        try:
            with connection.transaction():
                if not connection.execute(self._lock, (CHECKPOINT, position)).rowcount:
                    return Progress(position, head, 0)
                for after in range(position, up_to, PAGE_EVENTS_MAX):
                    page_end = min(after + PAGE_EVENTS_MAX, up_to)
                    self.fold(self._read_page(connection, after, page_end))
                    self._write(connection, after, page_end, last=page_end == up_to)
                moved = connection.execute(self._move, (up_to, WORKER, CHECKPOINT, position))
                if moved.rowcount != 1:
                    raise Fenced(f"the checkpoint is no longer at {position}")
                return Progress(up_to, head, up_to - position)
        except BaseException:
            # What was folded is of a batch that never was.
            self._rows = Rows()
            raise

    def fold(self, events: list[StoredEvent]) -> None:
        """Turn events into row changes. Raises ProjectionFailed."""
        rows = self._rows
        decode = self._codec.decode
        for position, stream, version, type_name, schema_version, occurred_at, data in events:
            try:
                event = decode(type_name, schema_version, data)
                # "order-0190..." is the kind, a hyphen, and an id of 36 characters.
                PROJECTIONS[type(event)](event, Envelope(stream[-36:], version, occurred_at), rows)
            except Exception as error:
                # Whatever it is, it is this event's. It stops the projection here; its stream alone could be parked.
                reason = str(error) if isinstance(error, UnreadableEvent) else f"{type(error).__name__}: {error}"
                raise ProjectionFailed(f"event {position} ({type_name} of {stream}): {reason}") from error

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

    def _write(self, connection: Connection, position: int, up_to: int, *, last: bool) -> None:
        """Write a page's new rows, and after the last page all rows that the batch has changed."""
        try:
            if last:
                self._rows.write(connection, self._schema)
            else:
                self._rows.write_new(connection, self._schema)
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            # Not the detail: that quotes the row, and with it perhaps a person.
            reason = error.diag.message_primary or type(error).__name__
            raise ProjectionFailed(f"one of the events {position + 1} to {up_to}: {reason}") from error
