from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection

from projector.connecting import connect
from tests.builders import Writing


@pytest.fixture
def writing(database_url: str) -> Iterator[Writing]:
    """The write side on this test's database; nobody projects but the test."""
    with Writing(database_url) as writing:
        yield writing


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A projector's connection."""
    with connect(database_url) as connection:
        yield connection


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    """Somebody else's connection."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection
