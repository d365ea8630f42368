"""What Alembic runs: all open steps in one transaction, one migration at a time."""

import psycopg
from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from readmodel.tables import metadata

# Any constant will do, as long as no other lock of ours has it. Held until the transaction ends: who comes second finds
# the steps done. A transaction's lock, not a session's, because PgBouncer hands sessions around.
MIGRATION_LOCK = 0x6F72_6465_7273  # "orders" in ASCII

CONNECT_SECONDS_MAX = 5
OTHERS_SECONDS_MAX = 600  # for a migration that another process runs
# Requests queue behind a migration that waits for a table: it gives up, to be repeated when the table is free.
LOCK_SECONDS_MAX = 10


def run(database_url: str) -> None:
    """Migrate the database at a libpq URL to what the context asks for."""
    # psycopg connects, not SQLAlchemy, which refuses some URLs that libpq takes (sockets, several hosts).
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(
            database_url, prepare_threshold=None, application_name="orders migrate", connect_timeout=CONNECT_SECONDS_MAX
        ),
        poolclass=NullPool,
    )
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = '{OTHERS_SECONDS_MAX}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS_MAX}s'"))
        context.configure(connection=connection, target_metadata=metadata, include_schemas=True)
        context.run_migrations()


run(context.config.attributes["database_url"])
