"""Migrations as they are run: by several at once, again and again, on a database of another version."""

import multiprocessing
from pathlib import Path

import psycopg
import pytest

from service.embedded import PostgresServer
from service.errors import OperatorError
from service.migrate import expected_revision, upgrade


def revision_of(database_url: str) -> str:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT version_num FROM log.orders_schema_version").fetchall()
    assert len(rows) == 1
    return str(rows[0][0])


def test_several_at_once_do_it_once_also_on_a_new_server(place: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with PostgresServer(place) as server:
        several = [context.Process(target=upgrade, args=(server.url,)) for _ in range(3)]
        for process in several:
            process.start()
        for process in several:
            process.join(60)
        assert [process.exitcode for process in several] == [0, 0, 0]
        assert revision_of(server.url) == expected_revision()


def test_doing_it_again_changes_nothing(empty_database_url: str) -> None:
    assert upgrade(empty_database_url) == upgrade(empty_database_url) == revision_of(empty_database_url)


def test_a_database_of_a_newer_version_is_refused(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("UPDATE log.orders_schema_version SET version_num = 'from_the_future'")
    with pytest.raises(OperatorError, match="newer version"):
        upgrade(empty_database_url)


def test_another_applications_version_table_is_not_taken_for_ours(empty_database_url: str) -> None:
    """Many applications use Alembic, and many of them number their revisions."""
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO public.alembic_version VALUES (%s)", [expected_revision()])
    upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT position FROM log.head").fetchall() == [(0,)]
        assert connection.execute("SELECT count(*) FROM public.alembic_version").fetchall() == [(1,)]


@pytest.mark.parametrize("name", ["access", "log", "shop"])
def test_a_schema_of_another_application_is_refused_by_name(empty_database_url: str, name: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    with pytest.raises(OperatorError, match=rf"that orders makes itself \({name}\): drop them if they are empty"):
        upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regclass('log.events')").fetchall() == [(None,)]


def test_tables_of_the_log_without_a_revision_are_refused_in_one_line(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("DELETE FROM log.orders_schema_version")
    with pytest.raises(OperatorError, match=r"^cannot migrate: .*already exists, but .* restore the database whole$"):
        upgrade(empty_database_url)
