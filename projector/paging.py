"""Pages: a batch is read, folded and its new rows written in pages, so that a large one takes no more memory."""

from collections.abc import Callable
from typing import NamedTuple

from psycopg import Connection

from eventlog import read
from projector.folding import Page
from projector.projection import Projection

# A page of so few events is not cut further. An event has 1.2 MB at most: 1,000 lines with names of 800 bytes.
FEW_EVENTS = 4
# Large events make a batch end early, so that its transaction stays short.
BATCH_PAGES_MAX = 24
# A batch that has taken this long ends with the page that it has. On a busy machine its transaction would time out.
BATCH_SECONDS = 10.0

# Reads the events at positions after < position <= up_to. The last argument is where the page after it will end, if
# there is one.
ReadPage = Callable[[Connection, int, int, int | None], Page]


class PageMax(NamedTuple):
    """How large a page may be: positions of the log, and bytes of the events that are read."""

    events: int = 5_000
    data_bytes: int = 4 * 1024 * 1024


PAGE_MAX = PageMax()


def reader_of(projection: Projection) -> ReadPage:
    """The function that reads what the projection handles of a page of the log."""

    def read_page(connection: Connection, after: int, up_to: int, _: int | None = None) -> Page:
        if projection.every is not None:
            return read.counts(connection, after, up_to)
        return read.page(connection, after, up_to, projection.types_read)

    return read_page


def page_ends(connection: Connection, projection: Projection, after: int, up_to: int, page_max: PageMax) -> list[int]:
    """The last positions of the pages of a batch that begins behind `after`. The batch ends at `up_to`, or before."""
    if projection.every is not None:
        return [up_to]
    sized = [up_to]
    if up_to - after > FEW_EVENTS:
        sized = read.page_ends(connection, after, up_to, page_max.data_bytes, projection.types_read)
    ends: list[int] = []
    for end in sized:
        ends += [*range(after + page_max.events, end, page_max.events), end]
        after = end
    return ends[:BATCH_PAGES_MAX]
