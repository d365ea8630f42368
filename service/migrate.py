"""Brings a database's tables to the state that this version of the code expects."""

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import DuplicateTable
from sqlalchemy.exc import ProgrammingError

from database.sessions import READS, Limits, connect
from projector.reports import make_missing_views
from projector.tables import make_missing
from service.errors import OperatorError
from service.projections import PROJECTIONS

LOCK_SECONDS_MAX = 10
_SCHEMAS = ["access", "log", "mirrors", "operations", *(projection.name for projection in PROJECTIONS)]
_TAKEN = b"""
SELECT string_agg(nspname, ', ' ORDER BY nspname) FROM pg_namespace
WHERE nspname = ANY (%s) AND to_regclass('log.orders_schema_version') IS NULL
"""


def upgrade(database_url: str) -> str | None:
    """Run every migration that the database at the libpq URL does not have yet; return the revision it is at now.

    All of them or, on an error, none. Several processes may do this at the same moment: one works, the others wait
    and find it done. Raises OperatorError when the database is of a newer version than the code, or has schemas of
    these names that are not ours, and psycopg.OperationalError when it cannot be reached.
    """
    with connect(database_url, "orders migrate", settings=READS) as connection:
        ((taken,),) = connection.execute(_TAKEN, [_SCHEMAS]).fetchall()
    if taken:
        raise OperatorError(
            f"the database already has schemas that orders makes itself ({taken}): drop them if they are empty, "
            "else give orders a database of its own"
        )
    config = _config()
    config.attributes["database_url"] = database_url
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise OperatorError(
            f"cannot migrate: {error}; is the database of a newer version of orders than this one?"
        ) from error
    except ProgrammingError as error:
        if not isinstance(error.orig, DuplicateTable):
            raise
        said = str(error.orig).splitlines()[0]
        raise OperatorError(
            f"cannot migrate: {said}, but log.orders_schema_version has no revision: restore the database whole"
        ) from error
    # Alembic keeps only what cannot be rebuilt. These are the read tables and their views.
    with connect(database_url, "orders migrate", Limits(lock=LOCK_SECONDS_MAX)) as connection:
        for projection in PROJECTIONS:
            make_missing(connection, projection)
            make_missing_views(connection, projection)
    return expected_revision()


def expected_revision() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    """Alembic's configuration without a file: the installed package `migrations` has the steps."""
    config = Config()
    config.set_main_option("script_location", "migrations:.")
    config.set_main_option("path_separator", "os")
    return config
