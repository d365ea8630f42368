"""The connection of a follower: a server that is frozen or cut off must not hang a worker."""

import threading
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.abc import RV, PQGen

from database.deadline import hang_up
from projector import connecting
from projector.connecting import connect

STATEMENT_SECONDS_MAX = 12
BATCH_SECONDS_MAX = 60
# If this process is stopped or cut off, the server ends its work and frees its locks. Cancelling a COMMIT that waits
# for a standby loses nothing: the tables follow from the log.
LIMITS = replace(connecting.LIMITS, statement=STATEMENT_SECONDS_MAX, transaction=BATCH_SECONDS_MAX)
# Longer than the longest wait that PostgreSQL itself ends, which is for a lock.
ANSWER_SECONDS_MAX = 15.0


class PatientConnection(Connection[tuple[Any, ...]]):
    """Hangs up, and raises OperationalError, when a statement has no answer in time.

    It does not cancel: that would wait for the same server. A frozen server that resumes rolls the transaction
    back when it finds the connection closed; the next look at the checkpoint shows a COMMIT that took effect.
    """

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        try:
            return super().wait(gen, interval, ANSWER_SECONDS_MAX if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001 -- psycopg has no other name for it
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer from PostgreSQL for {ANSWER_SECONDS_MAX:.0f} s") from None


class Session:
    """Connects when that is needed, and again when a connection was lost, until `stopping` is set."""

    def __init__(self, database_url: str, stopping: threading.Event) -> None:
        self._database_url = database_url
        self._stopping = stopping
        self._connection: Connection | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def connection(self) -> Connection:
        """The connection that projects. Raises psycopg.OperationalError."""
        if self._connection is None or self._connection.closed:
            if self._stopping.is_set():
                raise psycopg.OperationalError("the worker stops, and connects no more")
            self._connection = connect(self._database_url, PatientConnection, LIMITS)
        return self._connection

    def hang_up(self) -> None:
        """Cut the connection, whatever it waits for. May be called from another thread."""
        if self._connection is not None:
            hang_up(self._connection)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
