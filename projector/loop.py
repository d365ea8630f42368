"""The projection loop: the one path from the log to the read tables, for live projection, replay and verify alike.

Lock the checkpoint, read the events behind it, fold them into row changes, write those, move the checkpoint, commit:
rows and checkpoint in one transaction, so every event takes effect exactly once, whoever crashes, and a projector that
was presumed dead cannot commit what another has done meanwhile.
"""

import os
import socket
from dataclasses import dataclass

import psycopg
from psycopg import Connection, sql

from eventlog import read
from eventlog.codec import Codec, UnreadableEvent
from eventlog.read import StoredEvent
from projector.projections import PROJECTIONS
from projector.projections.envelope import Envelope
from projector.rows import Rows
from readmodel import tables

CHECKPOINT = "read_tables"
# A projector that stops in the middle of a batch holds the checkpoint no longer than this, so another can take over.
STALLED_SECONDS_MAX = 5
# Waiting for another projector's batch is no error, waiting for ever is.
LOCK_SECONDS_MAX = 10

WORKER = f"{socket.gethostname()}:{os.getpid()}"


class ProjectionFailed(Exception):
    """An event cannot be projected; the batch it is in was rolled back."""


class Fenced(Exception):
    """The checkpoint was moved by somebody else in the middle of a batch; this batch was rolled back."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the read tables are after a batch, and where the log is."""

    position: int
    head: int
    events: int

    @property
    def lag(self) -> int:
        """How many events there are still to project."""
        return self.head - self.position


def connect(database_url: str) -> Connection:
    """A connection for projecting."""
    connection = psycopg.connect(database_url, autocommit=True)
    connection.execute("SET timezone = 'UTC'")
    connection.execute(f"SET idle_in_transaction_session_timeout = '{STALLED_SECONDS_MAX}s'")
    connection.execute(f"SET lock_timeout = '{LOCK_SECONDS_MAX}s'")
    return connection


class Loop:
    """Projects the log into the read tables of one schema."""

    def __init__(self, schema: str = tables.SCHEMA, codec: Codec | None = None) -> None:
        self._schema = schema
        self._codec = codec or Codec()
        self._rows = Rows()
        checkpoint = sql.Identifier(schema, "checkpoint")
        self._look = sql.SQL(
            "SELECT checkpoint.position, head.position FROM {} AS checkpoint, log.head AS head "
            "WHERE checkpoint.name = %s AND head.log_id = 0"
        ).format(checkpoint)
        self._lock = self._look + sql.SQL(" FOR UPDATE OF checkpoint")
        self._move = sql.SQL(
            "UPDATE {} SET position = %s, updated_at = clock_timestamp(), seen_at = clock_timestamp(), worker = %s, "
            "error = NULL WHERE name = %s AND position = %s"
        ).format(checkpoint)
        self._see = sql.SQL("UPDATE {} SET seen_at = clock_timestamp(), worker = %s WHERE name = %s").format(checkpoint)
        self._fail = sql.SQL("UPDATE {} SET error = %s, seen_at = clock_timestamp(), worker = %s WHERE name = %s").format(
            checkpoint
        )

    def look(self, connection: Connection) -> Progress:
        """Where the read tables and the log are."""
        row = connection.execute(self._look, (CHECKPOINT,)).fetchone()
        assert row is not None, "the migration made the checkpoint"
        return Progress(row[0], row[1], 0)

    def project(self, connection: Connection, limit: int, until: int | None = None) -> Progress:
        """Project the next `limit` events, or those up to position `until`.

        Raises ProjectionFailed, Fenced and psycopg.Error; then nothing has changed.
        """
        try:
            with connection.transaction():
                row = connection.execute(self._lock, (CHECKPOINT,)).fetchone()
                assert row is not None, "the migration made the checkpoint"
                position, head = row
                up_to = min(position + limit, head if until is None else min(head, until))
                if up_to <= position:
                    return Progress(position, head, 0)
                events = read.page(connection, position, up_to)
                self.fold(events)
                self._rows.write(connection, self._schema)
                moved = connection.execute(self._move, (up_to, WORKER, CHECKPOINT, position))
                if moved.rowcount != 1:
                    raise Fenced(f"the checkpoint is no longer at {position}")
                return Progress(up_to, head, len(events))
        except BaseException:
            self._rows = Rows()
            raise

    def fold(self, events: list[StoredEvent]) -> None:
        """Turn events into row changes."""
        rows = self._rows
        decode = self._codec.decode
        for position, stream, version, type_name, schema_version, occurred_at, data in events:
            try:
                event = decode(type_name, schema_version, data)
            except UnreadableEvent as error:
                raise ProjectionFailed(f"event {position} of {stream}: {error}") from None
            # "order-0190..." is the kind, a hyphen, and an id of 36 characters.
            PROJECTIONS[type(event)](event, Envelope(stream[-36:], version, occurred_at), rows)

    def beat(self, connection: Connection) -> None:
        """Leave word that a projector is alive, though there was nothing to project."""
        with connection.transaction():
            connection.execute(self._see, (WORKER, CHECKPOINT))

    def report(self, connection: Connection, error: str) -> None:
        """Leave word why nothing is projected."""
        with connection.transaction():
            connection.execute(self._fail, (error, WORKER, CHECKPOINT))
