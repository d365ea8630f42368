"""The migrations make what the code's tables say, and nothing else."""

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

import access.tables
import eventlog.tables
from projector.projection import Projection
from service.migrate import expected_revision, upgrade
from service.projections import PROJECTIONS

OF_THE_LOG = eventlog.tables.metadata
ALL = [OF_THE_LOG, access.tables.metadata, *(projection.metadata for projection in PROJECTIONS)]
NAMES = [metadata.schema for metadata in ALL]

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


@pytest.mark.parametrize("metadata", ALL, ids=NAMES)
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


@pytest.mark.parametrize("metadata", ALL, ids=NAMES)
def test_migrations_and_table_definitions_give_the_same_schema(
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


@pytest.mark.parametrize("projection", PROJECTIONS, ids=NAMES[2:])
def test_the_tables_of_a_projection_start_at_the_beginning_of_the_log(
    database_url: str, projection: Projection
) -> None:
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            f"SELECT version, position, worker, error, parked FROM {projection.name}.checkpoint".encode()
        ).fetchall()
    assert found == [(projection.version, 0, None, None, 0)]


def test_a_migration_makes_only_the_tables_that_are_missing(empty_database_url: str) -> None:
    assert upgrade(empty_database_url) == expected_revision()
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("UPDATE shop.checkpoint SET worker = 'kept'; DROP SCHEMA sales CASCADE")
    upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT worker FROM shop.checkpoint").fetchall() == [("kept",)]
        assert connection.execute("SELECT position FROM sales.checkpoint").fetchall() == [(0,)]
