"""Alembic's entry: all open steps in one transaction, one migration at a time."""

import os

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import SetColumnComment, SetTableComment

import access.tables
import eventlog.tables
from database import sessions

# Any constant will do, as long as no other lock of ours has it. Held until the transaction ends: who comes second finds
# the steps done. A transaction's lock, not a session's, because PgBouncer hands sessions around.
MIGRATION_LOCK = 0x6F72_6465_7273  # "orders" in ASCII

# Not public.alembic_version: another application in the same database may have a table of that name, with revisions
# called 0001, 0002 and 0003 too.
VERSION_SCHEMA, VERSION_TABLE = "log", "orders_schema_version"

OUR_TABLES = [eventlog.tables.metadata, access.tables.metadata]
OUR_SCHEMAS = {metadata.schema for metadata in OUR_TABLES}
OTHERS_SECONDS_MAX = 600  # for a migration that another process runs
# Requests queue behind a migration that waits for a table: it gives up, to be repeated when the table is free.
LOCK_SECONDS_MAX = 10


def run(database_url: str) -> None:
    """Migrate the database at a libpq URL to what the context asks for."""
    # psycopg connects, not SQLAlchemy, which refuses some URLs that libpq takes (sockets, several hosts).
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: sessions.connect(database_url, "orders migrate", autocommit=False, prepare_threshold=None),
        poolclass=NullPool,
    )
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = '{OTHERS_SECONDS_MAX}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS_MAX}s'"))
        context.configure(
            connection=connection,
            target_metadata=OUR_TABLES,
            include_schemas=True,
            # Alembic leaves the tables of projections alone: a replay makes those.
            include_name=lambda name, kind, _: kind != "schema" or name in OUR_SCHEMAS,
            version_table=VERSION_TABLE,
            version_table_schema=VERSION_SCHEMA,
        )
        # A role that may only read asks for the revision with `alembic current`, which changes nothing.
        migration = context.get_context()
        reads = migration.opts.get("dont_mutate")
        # Not by to_regnamespace: this session may still remember that there was none before it waited for the lock.
        there = text("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = :name)")
        if not reads and not connection.scalar(there, {"name": VERSION_SCHEMA}):
            connection.execute(text(f"CREATE SCHEMA {VERSION_SCHEMA}"))
        before = migration.get_current_heads()
        context.run_migrations()
        if before != migration.get_current_heads():
            _comment(connection)


def _comment(connection: Connection) -> None:
    """Give tables and columns the comments that the code declares. The steps of the migration have none of these."""
    for table in [table for metadata in OUR_TABLES for table in metadata.sorted_tables]:
        connection.execute(SetTableComment(table))
        for column in table.columns:
            connection.execute(SetColumnComment(column))


if "database_url" in context.config.attributes:
    run(context.config.attributes["database_url"])  # `orders migrate`
elif context.is_offline_mode():
    raise CommandError("there is no --sql: some steps depend on the database")
elif not os.environ.get("DATABASE_URL"):
    raise CommandError("set DATABASE_URL, as for `orders migrate`")
else:
    try:
        run(os.environ["DATABASE_URL"])
    except DBAPIError as error:
        raise CommandError(str(error.orig).splitlines()[0]) from error
