"""The search of the log finds each event once, also while the projection `activity` goes on."""

from typing import Any

import psycopg
import pytest

from console import activity
from console.log import Wanted, page
from tests.builders import Writing
from tests.projecting import sweep


class Projecting:
    """A connection on which `activity` catches up right after the search has asked how far it is."""

    def __init__(self, connection: psycopg.Connection, database_url: str) -> None:
        self._connection = connection
        self._database_url = database_url

    def execute(self, query: Any, *arguments: Any, **options: Any) -> psycopg.Cursor:
        answer = self._connection.execute(query, *arguments, **options)
        if query == activity.ENDS:
            sweep(self._database_url)
        return answer


@pytest.mark.parametrize("end", [{"after": 0}, {"before": 1_000}])
def test_an_event_that_is_counted_during_the_search_is_found_once(database_url: str, end: dict[str, int]) -> None:
    with Writing(database_url) as writing:
        writing.user()
        sweep(database_url)
        writing.user()
    with psycopg.connect(database_url, autocommit=True) as connection:
        searched: Any = Projecting(connection, database_url)
        found = page(searched, Wanted(("UserRegistered",)), **end)
    assert [it.position for it in found.events] == [2, 1]
