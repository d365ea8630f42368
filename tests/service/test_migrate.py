"""Migrations as they are run: by several at once, again and again, on a database of another version."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from service.embedded import PostgresServer
from service.errors import OperatorError
from service.migrate import expected_revision, upgrade


@pytest.fixture
def database_url(place: Path) -> Iterator[str]:
    with PostgresServer(place) as server:
        yield server.url


def revision_of(database_url: str) -> str:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT version_num FROM log.orders_schema_version").fetchall()
    assert len(rows) == 1
    return str(rows[0][0])


def test_several_at_once_do_it_once(database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    several = [context.Process(target=upgrade, args=(database_url,)) for _ in range(3)]
    for process in several:
        process.start()
    for process in several:
        process.join(60)
    assert [process.exitcode for process in several] == [0, 0, 0]
    assert revision_of(database_url) == expected_revision()


def test_doing_it_again_changes_nothing(database_url: str) -> None:
    assert upgrade(database_url) == upgrade(database_url) == revision_of(database_url)


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    upgrade(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE log.orders_schema_version SET version_num = 'from_the_future'")
    with pytest.raises(OperatorError, match="newer version"):
        upgrade(database_url)


def test_another_applications_version_table_is_not_taken_for_ours(database_url: str) -> None:
    """Many applications use Alembic, and many of them number their revisions."""
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO public.alembic_version VALUES (%s)", [expected_revision()])
    upgrade(database_url)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT position FROM log.head").fetchall() == [(0,)]
        assert connection.execute("SELECT count(*) FROM public.alembic_version").fetchall() == [(1,)]
