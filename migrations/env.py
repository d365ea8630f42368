"""What Alembic runs: all open steps in one transaction, one migration at a time."""

import psycopg
from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from readmodel.tables import metadata

# Any constant will do, as long as no other lock of ours has it. Held until the transaction ends: who comes second finds
# the steps done. A transaction's lock, not a session's, because PgBouncer hands sessions around.
MIGRATION_LOCK = 0x6F72_6465_7273  # "orders" in ASCII


def run(database_url: str) -> None:
    """Migrate the database at a libpq URL to what the context asks for."""
    # psycopg connects, not SQLAlchemy, which refuses some URLs that libpq takes (sockets, several hosts).
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database_url, prepare_threshold=None),
        poolclass=NullPool,
    )
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.configure(connection=connection, target_metadata=metadata, include_schemas=True)
        context.run_migrations()


run(context.config.attributes["database_url"])
