"""The connection of a follower."""

import threading
import time
from dataclasses import replace

import psycopg
from psycopg import Connection

from database.deadline import hang_up
from projector import connecting
from projector.connecting import connect
from projector.folding import Page
from projector.paging import reader_of
from projector.patience import PatientConnection
from projector.projection import Projection

STATEMENT_SECONDS_MAX = 12
BATCH_SECONDS_MAX = 60
# If this process is stopped or cut off, the server ends its work and frees its locks. Cancelling a COMMIT that waits
# for a standby loses nothing: the tables follow from the log.
LIMITS = replace(connecting.LIMITS, statement=STATEMENT_SECONDS_MAX, transaction=BATCH_SECONDS_MAX)


class Session:
    """Connects when that is needed, and again when a connection was lost, until `stopping` is set."""

    def __init__(self, database_url: str, projection: Projection, stopping: threading.Event) -> None:
        self._database_url = database_url
        self._stopping = stopping
        self._read_page = reader_of(projection)
        self._connection: Connection | None = None
        # How long `page` has taken since this was set to 0.
        self.read_seconds = 0.0

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def connection(self) -> Connection:
        """The connection that projects. Raises psycopg.OperationalError."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def page(self, connection: Connection, after: int, up_to: int, then: int | None) -> Page:
        """A page of the log: a ReadPage."""
        began = time.perf_counter()
        page = self._read_page(connection, after, up_to, then)
        self.read_seconds += time.perf_counter() - began
        return page

    def hang_up(self) -> None:
        """Cut the connection, whatever it waits for. May be called from another thread."""
        if self._connection is not None:
            hang_up(self._connection)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _connect(self) -> Connection:
        if self._stopping.is_set():
            raise psycopg.OperationalError("the worker stops, and connects no more")
        return connect(self._database_url, PatientConnection, LIMITS)
