"""Pages: a batch is read, folded and its new rows written in pages, so that a large one takes no more memory."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Self

from psycopg import Connection

from database.sessions import READS
from eventlog import read
from projector.connecting import connect
from projector.folding import Page
from projector.projection import Projection

# Large events make a batch end early, so that its transaction stays short.
BATCH_PAGES_MAX = 24
# Changed rows and streams that are parked are in memory until the batch is written, 640 bytes each, so a batch that has
# so many of them ends. One page can change 30,000 more.
CHANGED_ROWS_MAX = 20_000
# A batch that has taken this long ends with the page that it has. On a busy machine its transaction would time out.
BATCH_SECONDS = 10.0

# Reads the next page of the events at positions after < position <= goal: its events, and the position where it ends.
ReadPage = Callable[[Connection, int, int], tuple[Page, int]]


class PageMax(NamedTuple):
    """How large a page may be: positions of the log, and bytes of the events that are read.

    An event has 1.2 MB at most: 1,000 lines with names of 800 bytes. A page takes several times its bytes in memory,
    and a worker that replays for an operator holds pages of the replay and of its own batch.
    """

    events: int = 5_000
    data_bytes: int = 2 * 1024 * 1024


PAGE_MAX = PageMax()


def reader_of(projection: Projection, page_max: PageMax = PAGE_MAX) -> ReadPage:
    """The function that reads what the projection handles of the log. A projection that counts has one page a batch."""

    def read_page(connection: Connection, after: int, goal: int) -> tuple[Page, int]:
        if projection.every is not None:
            return read.counts(connection, after, goal), goal
        up_to = min(after + page_max.events, goal)
        events = read.page(connection, after, up_to, projection.types_read, page_max.data_bytes)
        return events, events[-1].position if events else up_to

    return read_page


class _Fetch(NamedTuple):
    after: int
    goal: int
    page: Future[tuple[Page, int]]


class ReadAhead:
    """A reader for the loop with a thread and a connection of its own: it reads the next page while the last is folded.

    Without it a replay of 200,000 events took 20 % longer (median of three rounds by turns).
    """

    def __init__(self, database_url: str, projection: Projection, page_max: PageMax = PAGE_MAX) -> None:
        self._connection = connect(database_url, settings=READS)
        self._read_page = reader_of(projection, page_max)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._next: _Fetch | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._connection.close()

    def page(self, connection: Connection, after: int, goal: int) -> tuple[Page, int]:
        """The next page and its end, as a ReadPage gives them; begins to fetch the page behind it."""
        fetched, self._next = self._next, None
        if fetched is not None and fetched.after == after and fetched.goal <= goal:
            events, end = fetched.page.result()
        else:
            events, end = self._read_page(connection, after, goal)
        if end < goal:
            self._next = _Fetch(end, goal, self._thread.submit(self._read_page, self._connection, end, goal))
        return events, end
