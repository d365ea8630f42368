"""Pages of the log, read ahead."""

from collections.abc import Iterator

import pytest
from psycopg import Connection

from projector.paging import PageMax, ReadAhead
from projector.projections.sales import SALES
from projector.projections.shop import SHOP
from tests.builders import Writing


@pytest.fixture
def ahead(writing: Writing, database_url: str) -> Iterator[ReadAhead]:
    for _ in range(9):
        writing.user()
    with ReadAhead(database_url, SHOP, PageMax(events=3)) as reader:
        yield reader


def positions(reader: ReadAhead, connection: Connection, after: int, goal: int) -> tuple[list[int], int]:
    events, end = reader.page(connection, after, goal)
    return [int(event[0]) for event in events], end


def test_pages_follow_each_other_up_to_the_goal(ahead: ReadAhead, connection: Connection) -> None:
    assert positions(ahead, connection, 0, 8) == ([1, 2, 3], 3)
    assert positions(ahead, connection, 3, 8) == ([4, 5, 6], 6)
    assert positions(ahead, connection, 6, 8) == ([7, 8], 8)
    assert positions(ahead, connection, 8, 9) == ([9], 9)


def test_a_batch_that_begins_again_gets_its_own_pages(ahead: ReadAhead, connection: Connection) -> None:
    """The page that was fetched for the failed batch is not the one that is due."""
    assert positions(ahead, connection, 0, 8) == ([1, 2, 3], 3)
    assert positions(ahead, connection, 0, 8) == ([1, 2, 3], 3)
    assert positions(ahead, connection, 3, 4) == ([4], 4)


def test_a_page_without_events_for_the_projection_ends_where_it_was_read(
    writing: Writing, database_url: str, connection: Connection
) -> None:
    for _ in range(5):
        writing.user()
    with ReadAhead(database_url, SALES, PageMax(events=3)) as reader:
        assert positions(reader, connection, 0, 5) == ([], 3)
        assert positions(reader, connection, 3, 5) == ([], 5)
