from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A session of the database's owner."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'")
        yield connection
