"""A mirror in another PostgreSQL: the same schemas as beside the log, one for each projection."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, ClassVar, cast

import psycopg
from sqlalchemy import Column, Connection, Engine, Table, Text, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema, DropSchema
from sqlalchemy.types import TypeEngine

from database import sessions
from database.remedies import in_one_line
from database.urls import defect_of
from projector import dependents, heritage, reports, swapping
from projector.connecting import LIMITS
from projector.mirror.layout import Build, Layout, TableName
from projector.mirror.target import Target, Unsuitable, text_of
from projector.projection import Projection
from projector.rows import Changes, NewRows

# The advisory lock of the mirror that is at work. Any constant will do that no other lock of ours has.
_LOCK = 0x6F72_6D69_7272


class PostgresTarget(Target):
    """One database. A table is called as it is beside the log: `shop.orders`."""

    numbers_names: ClassVar[bool] = False

    def _make_engine(self) -> Engine:
        url = text_of(self.url.set(drivername="postgresql"), hide_password=False)
        if defect := defect_of(url):
            raise Unsuitable(f"the mirror's URL is not a PostgreSQL URL: {defect}")
        return create_engine(
            "postgresql+psycopg://", creator=lambda: sessions.connect(url, "orders mirror", LIMITS, autocommit=False)
        )

    def check(self, connection: Connection) -> None:
        if connection.exec_driver_sql("SELECT to_regclass('log.events') IS NOT NULL").scalar_one():
            raise Unsuitable(f"{self.shown} has a log of its own, with its own read tables: use another database")

    def take(self, connection: Connection) -> bool:
        taken: bool = connection.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).scalar_one()
        connection.commit()
        return taken

    def said(self, error: DBAPIError) -> str:
        if not isinstance(error.orig, psycopg.Error):
            return super().said(error)
        return in_one_line(error.orig, "the URL of the mirror").removeprefix("PostgreSQL: ")

    def snapshot(self) -> Connection:
        connection = self.engine.connect()
        with connection.begin():
            # It waits while verify folds the log, and holds no lock that another session waits for.
            connection.exec_driver_sql("SET idle_in_transaction_session_timeout = 0")
        return connection.execution_options(isolation_level="REPEATABLE READ")

    def named(self, projection: Projection, table: str, build: Build) -> TableName:
        return TableName(f"{projection.name}{build}", table)

    def column_type(self, column: Column[Any], is_searched: bool) -> TypeEngine[Any]:
        return column.type

    def ordering(self, column: Column[Any]) -> Any:
        return column.collate("C") if isinstance(column.type, Text) else column

    def create(self, connection: Connection, layout: Layout) -> None:
        schema = _schema_of(layout)
        connection.execute(CreateSchema(schema))
        super().create(connection, layout)
        for table in layout.all:
            # An event trigger may force row security on all new tables: then no owner could fill them.
            connection.exec_driver_sql(f'ALTER TABLE "{schema}"."{table.name}" NO FORCE ROW LEVEL SECURITY')
        serving = schema.removesuffix(Build.NEXT)
        if connection.exec_driver_sql("SELECT to_regnamespace(%s) IS NOT NULL", (serving,)).scalar_one():
            with connection.begin_nested() as trial:
                # Before the work: if an event trigger forbids to drop tables, nothing is left behind yet.
                self.drop(connection, layout)
                trial.rollback()

    def make_views(self, connection: Connection, projection: Projection) -> None:
        reports.make_missing_views(_driver(connection), projection)

    def refuse_dependents(self, connection: Connection, projection: Projection) -> None:
        driver = _driver(connection)
        dependents.refuse_others(driver, projection.name)
        dependents.refuse_added(driver, projection.name, [table.name for table in self.layout(projection).all])
        dependents.refuse_settings(driver, projection.name, _schema_of(self.layout(projection, Build.NEXT)))

    def rehearse(self, connection: Connection, projection: Projection) -> None:
        driver = _driver(connection)
        dependents.undo_defaults(driver, _schema_of(self.layout(projection, Build.NEXT)))
        with suppress(*swapping.IN_USE, psycopg.errors.InternalError_), driver.transaction(force_rollback=True):
            driver.execute(f"SET LOCAL lock_timeout = '{swapping.LOCK_MS_MAX}ms'")
            dependents.try_out(driver, self._replace(connection, projection))

    def drop(self, connection: Connection, layout: Layout) -> None:
        schema, driver = _schema_of(layout), _driver(connection)
        if built := dependents.built_on(driver, schema):
            raise dependents.InTheWay(f"the schema {schema} cannot be dropped, because this is built on it: {built}")
        dependents.refuse_added(driver, schema, [table.name for table in layout.all])
        connection.execute(DropSchema(schema, cascade=True, if_exists=True))

    def insert(self, connection: Connection, table: Table, new: NewRows) -> None:
        new.write(_driver(connection), cast(str, table.schema))

    def change(self, connection: Connection, table: Table, changes: Changes) -> None:
        changes.write_changed(_driver(connection), cast(str, table.schema))

    def swap(self, connection: Connection, projection: Projection, tables: Sequence[str], old: Collection[str]) -> None:
        swapping.swap_when_free(lambda: self._rename(connection, projection, old), _is_locked)

    def _rename(self, connection: Connection, projection: Projection, old: Collection[str]) -> None:
        serving, following = (_schema_of(self.layout(projection, build)) for build in (Build.SERVING, Build.NEXT))
        with connection.begin():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{swapping.LOCK_MS_MAX}ms'")
            if not old:
                connection.exec_driver_sql(f'ALTER SCHEMA "{following}" RENAME TO "{serving}"')
                return
            # So no statement reads one table of the old build beside one of the new.
            # Referred tables come first, as in most joins: with the other order, readers that join the tables
            # and this loop would wait for each other until the time-out, again and again.
            order = [table.name for table in projection.plain_tables]
            for name in sorted(old, key=lambda it: order.index(it) if it in order else len(order)):
                connection.exec_driver_sql(f'LOCK TABLE "{serving}"."{name}" IN ACCESS EXCLUSIVE MODE')
            for statement in self._replace(connection, projection):
                _driver(connection).execute(statement.encode())

    def _replace(self, connection: Connection, projection: Projection) -> list[str]:
        """Rename the schemas. Returns the statements for the views and settings that others gave the serving tables."""
        self.refuse_dependents(connection, projection)
        serving, following, retired = (
            _schema_of(self.layout(projection, build)) for build in (Build.SERVING, Build.NEXT, Build.RETIRED)
        )
        driver = _driver(connection)
        heritage.hold(driver, serving)
        inherited = dependents.views(driver, serving) + heritage.statements(driver, serving, following)
        connection.exec_driver_sql(f'ALTER SCHEMA "{serving}" RENAME TO "{retired}"')
        connection.exec_driver_sql(f'ALTER SCHEMA "{following}" RENAME TO "{serving}"')
        return inherited


def _is_locked(error: Exception) -> bool:
    return swapping.is_in_use(getattr(error, "orig", error))


def _schema_of(layout: Layout) -> str:
    return cast(str, layout.checkpoint.schema)


def _driver(connection: Connection) -> psycopg.Connection:
    """Psycopg's connection: its transaction is SQLAlchemy's."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver
