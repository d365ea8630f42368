"""The interface of a mirror's database: one subclass a dialect. All else is common (SQLAlchemy Core)."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from time import monotonic, sleep
from typing import Any, ClassVar

from sqlalchemy import URL, Column, Connection, Engine, Table, inspect
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.types import TypeEngine

from projector.mirror.layout import Build, Layout, TableName
from projector.projection import Projection
from projector.rows import Changes, NewRows
from readmodel.base import reports_of

# PostgreSQL and MariaDB end the session of a mirror, and so its lock, a moment after the mirror has hung up.
TAKE_SECONDS_MAX, TAKE_AGAIN_SECONDS = 1.0, 0.05
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


# Parameters of a URL that hold secrets.
_SECRETS = re.compile("pass|passwd|password|sslpassword|.*secret.*|.*key", re.IGNORECASE)


def _without_secrets(url: URL) -> str:
    query = {name: value for name, value in url.query.items() if not _SECRETS.fullmatch(name)}
    return text_of(url.set(query=query), hide_password=True)


def text_of(url: URL, *, hide_password: bool) -> str:
    """The URL as text. SQLAlchemy writes a blank in an option as +, which libpq does not read as one."""
    place, mark, options = url.render_as_string(hide_password=hide_password).partition("?")
    return place + mark + options.replace("+", "%20")


class Unsuitable(Exception):
    """The mirror must not work on this database; the message says what to do."""


class Target(ABC):
    """The database that a URL names.

    `shown` is its URL without the password. `listed` is its name in `orders status`, unique among the log's mirrors.
    """

    # Layout's options: of the tables, and whether names of keys and indexes need the generation.
    table_options: ClassVar[dict[str, Any]] = {}
    has_partial_indexes: ClassVar[bool] = True
    numbers_names: ClassVar[bool] = True

    def __init__(self, url: URL) -> None:
        self.url = url
        self.shown = _without_secrets(url)
        self.engine = self._make_engine()

    @property
    def listed(self) -> str:
        return self.shown

    @abstractmethod
    def _make_engine(self) -> Engine:
        """The engine, whose every session has the settings that a mirror needs. Raises Unsuitable."""

    @abstractmethod
    def check(self, connection: Connection) -> None:
        """Raises Unsuitable if the server or the database must not be used."""

    @abstractmethod
    def take(self, connection: Connection) -> bool:
        """Become the only mirror that works on this target, until `close`; False if another one is."""

    def take_soon(self, connection: Connection) -> bool:
        """As `take`, but waits a second for a mirror that has just ended."""
        until = monotonic() + TAKE_SECONDS_MAX
        while not (taken := self.take(connection)) and monotonic() < until:
            sleep(TAKE_AGAIN_SECONDS)
        return taken

    def named(self, projection: Projection, table: str, build: Build) -> TableName:
        """How a table of a build is called here: `orders`, and `shop_checkpoint` for those that each projection has."""
        of_each = table in {"checkpoint", "parked"}
        return TableName(None, f"{projection.name}_{table}{build}" if of_each else f"{table}{build}")

    @abstractmethod
    def column_type(self, column: Column[Any], is_searched: bool) -> TypeEngine[Any]:
        """How a column is stored."""

    @abstractmethod
    def insert(self, connection: Connection, table: Table, new: NewRows) -> None:
        """Write new rows."""

    @abstractmethod
    def change(self, connection: Connection, table: Table, changes: Changes) -> None:
        """Write changed rows and sums. Raises RowMissing."""

    @abstractmethod
    def swap(self, connection: Connection, projection: Projection, tables: Sequence[str], old: Collection[str]) -> None:
        """Let the next build serve, all tables at once; of the serving one, those in `old` are there and retire."""

    def writing(self) -> Connection:
        """A connection whose transactions may write at once."""
        return self.engine.connect()

    def snapshot(self) -> Connection:
        """A connection whose transaction sees one state of all tables."""
        return self.engine.connect().execution_options(isolation_level="REPEATABLE READ")

    def ordering(self, column: Column[Any]) -> Any:
        """The expression that sorts the column's values by their bytes."""
        return column

    def layout(self, projection: Projection, build: Build = Build.SERVING, generation: int = 1) -> Layout:
        return Layout(self, projection, build, generation)

    def existing(self, connection: Connection, layout: Layout) -> set[str]:
        inspector = inspect(connection)
        return {table.name for table in layout.all if inspector.has_table(table.name, schema=table.schema)}

    def refuse_dependents(self, connection: Connection, projection: Projection) -> None:
        """Raise Unsuitable if a foreign key of another table leads to the projection's: a rebuild would break it."""
        ours = {table.name for build in Build for table in self.layout(projection, build).all}
        keys_of = inspect(connection).get_multi_foreign_keys()
        if found := sorted(
            f"{key['name'] or 'one'} of table {table}"
            for (_, table), keys in keys_of.items()
            for key in keys
            if table not in ours and key["referred_table"] in ours
        ):
            raise Unsuitable(
                f"a rebuild would break foreign keys on the mirror's tables: {', '.join(found)}; drop them, rebuild, "
                "and make them again"
            )

    def rehearse(self, connection: Connection, projection: Projection) -> None:  # noqa: B027 - most have nothing to do
        """Raise InTheWay if the swap for the next build, still empty, would fail or lose what others have set."""

    def drop(self, connection: Connection, layout: Layout) -> None:
        """Drop the tables of a build, those that are there."""
        layout.metadata.drop_all(connection, checkfirst=True)

    def create(self, connection: Connection, layout: Layout) -> None:
        """Make the empty tables of a build, with keys."""
        layout.metadata.create_all(connection, checkfirst=False)

    def complete(self, connection: Connection, layout: Layout) -> None:
        """Make the indexes that are missing. A first fill is faster without them."""
        for index in layout.indexes:
            with connection.begin():
                index.create(connection, checkfirst=True)

    def make_views(self, connection: Connection, projection: Projection) -> None:
        with connection.begin():
            inspector = inspect(connection)
            for view in reports_of(projection.metadata):
                if not inspector.has_table(view.name):
                    rows = view.rows.compile(
                        dialect=connection.dialect,
                        schema_translate_map={projection.name: None},
                        render_schema_translate=True,
                        compile_kwargs={"literal_binds": True},
                    )
                    connection.exec_driver_sql(f"CREATE VIEW {view.name} AS {rows}")

    def refuses(self, error: DBAPIError) -> bool:
        """Whether the tables refused the rows. All else, such as a full disk, is no event's fault."""
        return isinstance(error, IntegrityError | DataError)

    def is_away(self, error: DBAPIError) -> bool:
        """Whether a first connection may succeed later; False if the URL is wrong."""
        return True

    def said(self, error: DBAPIError) -> str:
        return str(error.orig).splitlines()[0]

    def reason(self, error: DBAPIError) -> str:
        """Why rows were refused, without their values, which may be a person's."""
        return _QUOTED.sub("...", self.said(error))

    def close(self) -> None:
        """Close all connections, and let another mirror work on the target."""
        self.engine.dispose()
