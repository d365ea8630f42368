"""Brings a database's tables to the state that this version of the code expects."""

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import DuplicateSchema, DuplicateTable
from sqlalchemy.exc import ProgrammingError

from database.sessions import Limits, connect
from projector.reports import make_missing_views
from projector.tables import make_missing
from service.errors import OperatorError
from service.projections import PROJECTIONS

LOCK_SECONDS_MAX = 10


def upgrade(database_url: str) -> str | None:
    """Run every migration that the database at the libpq URL does not have yet; return the revision it is at now.

    All of them or, on an error, none. Several processes may do this at the same moment: one works, the others wait
    and find it done. Raises OperatorError when the database is of a newer version than the code, and
    psycopg.OperationalError when it cannot be reached.
    """
    config = _config()
    config.attributes["database_url"] = database_url
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise OperatorError(
            f"cannot migrate: {error}; is the database of a newer version of orders than this one?"
        ) from error
    except ProgrammingError as error:
        if not isinstance(error.orig, DuplicateSchema | DuplicateTable):
            raise
        raise OperatorError(
            f"cannot migrate: {str(error.orig).splitlines()[0]}: another application uses our names, or the log was "
            "restored without log.orders_schema_version: use another database, or restore it whole"
        ) from error
    _make_missing_tables(database_url)
    return expected_revision()


def _make_missing_tables(database_url: str) -> None:
    """Make what is missing of the read tables and their views; Alembic keeps only what cannot be rebuilt."""
    with connect(database_url, "orders migrate", Limits(lock=LOCK_SECONDS_MAX)) as connection:
        for projection in PROJECTIONS:
            make_missing(connection, projection)
            checkpoint = f"{projection.name}.checkpoint"
            if connection.execute("SELECT to_regclass(%s)", (checkpoint,)).fetchone() == (None,):
                raise OperatorError(
                    f"there is a schema {projection.name}, but no table {checkpoint}: use another database if the "
                    "schema is another application's; else drop it and run `orders migrate` again"
                )
            make_missing_views(connection, projection)


def expected_revision() -> str | None:
    """Return the newest revision that this code knows, None when there is none yet."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    """Alembic's configuration without a file: the installed package `migrations` has the steps."""
    config = Config()
    config.set_main_option("script_location", "migrations:.")
    config.set_main_option("path_separator", "os")
    return config
