"""The migrations make what the code's tables say, and nothing else."""

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

import eventlog.tables
import readmodel.tables
from service.migrate import _config, expected_revision, upgrade

OF_THE_LOG, OF_THE_READ_TABLES = eventlog.tables.metadata, readmodel.tables.metadata

# Everything that PostgreSQL knows of a schema's tables: columns, defaults, constraints and indexes with their names
# and definitions, comments.
COLUMNS = """
SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default, collation_name,
       col_description(format('%%I.%%I', table_schema, table_name)::regclass, ordinal_position)
FROM information_schema.columns WHERE table_schema = %s AND table_name <> 'orders_schema_version'
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = %s::regnamespace AND contype <> 'n' AND conname <> 'orders_schema_version_pkc'
"""
INDEXES = """
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s AND tablename <> 'orders_schema_version'
"""


def connect(url: str) -> Connection:
    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool).connect()


def shape(url: str, schema: str) -> dict[str, list[tuple[object, ...]]]:
    with psycopg.connect(url) as connection:
        return {
            what: sorted(connection.execute(query.encode(), [schema]).fetchall(), key=str)
            for what, query in (("columns", COLUMNS), ("constraints", CONSTRAINTS), ("indexes", INDEXES))
        }


@pytest.mark.parametrize("metadata", [OF_THE_LOG, OF_THE_READ_TABLES], ids=["log", "read"])
def test_alembic_sees_no_difference_between_the_migrated_database_and_the_tables(
    database_url: str, metadata: MetaData
) -> None:
    def ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "schema" or name == metadata.schema

    with connect(database_url) as connection:
        options = {"include_schemas": True, "include_name": ours, "compare_server_default": True}
        options |= {"version_table": "orders_schema_version", "version_table_schema": "log"}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize("metadata", [OF_THE_LOG, OF_THE_READ_TABLES], ids=["log", "read"])
def test_what_the_migrations_made_is_to_the_letter_what_the_tables_would_make(
    database_url: str, empty_database_url: str, metadata: MetaData
) -> None:
    """Names and definitions of constraints and indexes too, which Alembic does not compare."""
    assert metadata.schema is not None
    with connect(empty_database_url) as connection, connection.begin():
        connection.execute(CreateSchema(metadata.schema))
        metadata.create_all(connection)
    made, would_be_made = shape(database_url, metadata.schema), shape(empty_database_url, metadata.schema)
    for what in made:
        assert made[what] == would_be_made[what], what


def test_the_read_tables_start_at_the_beginning_of_the_log(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT name, position, worker, error FROM read.checkpoint").fetchall()
    assert found == [("read_tables", 0, None, None)]


def test_the_read_tables_can_be_taken_back_and_made_again(empty_database_url: str) -> None:
    assert upgrade(empty_database_url) == expected_revision()
    before = shape(empty_database_url, "read")
    config = _config()
    config.attributes["database_url"] = empty_database_url
    command.downgrade(config, "0001")
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT FROM pg_namespace WHERE nspname = 'read'").fetchall() == []
        assert connection.execute("SELECT position FROM log.head").fetchall() == [(0,)]
    upgrade(empty_database_url)
    assert shape(empty_database_url, "read") == before
