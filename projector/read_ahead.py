"""Reading ahead: the next page of the log is fetched while the last one is folded and written."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self

from psycopg import Connection

from database.deadline import hang_up
from eventlog import read
from eventlog.read import StoredEvent


class _Fetch(NamedTuple):
    after: int
    up_to: int
    events: "Future[list[StoredEvent]]"


class ReadAhead:
    """A reader for the loop with a thread and a connection of its own, so PostgreSQL reads while Python folds.

    Only where there is much to read: for a replay, for verify, for whoever is far behind. Closes the connection.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._next: _Fetch | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and the connection."""
        self._thread.shutdown(cancel_futures=True)
        self._connection.close()

    def hang_up(self) -> None:
        """Have whoever waits for a page get an error instead."""
        hang_up(self._connection)

    def page(self, connection: Connection, after: int, up_to: int) -> list[StoredEvent]:
        """The events at positions after < position <= up_to, and a guess at what will be asked for next.

        The guess may have been made before those events were there. Positions have no holes, so counting shows it.
        """
        guessed, self._next = self._next, None
        if guessed is not None and (guessed.after, guessed.up_to) == (after, up_to):
            events = guessed.events.result()
        else:
            events = []
        if len(events) != up_to - after:
            events = read.page(connection, after, up_to)
        next_end = up_to + (up_to - after)
        fetched = self._thread.submit(read.page, self._connection, up_to, next_end)
        self._next = _Fetch(up_to, next_end, fetched)
        return events
