"""Read tables built beside those that serve: for a replay, which changes their places, and for verify, which compares.

Foreign keys and indexes come after the rows, which is several times faster; primary keys come first, because rows that
change later are found by them.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import psycopg
from psycopg import Connection, sql
from sqlalchemy import MetaData
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable, ExecutableDDLElement, SetColumnComment

from eventlog import read
from projector.loop import CHECKPOINT, Loop, Progress, ReadPage, connect
from projector.parked import drain
from readmodel import tables

REPLAY_SCHEMA = "read_next"
VERIFY_SCHEMA = "read_verify"

# Large batches spare updates: of a product that is sold all day only the last stock of each batch is written.
BATCH_EVENTS = 100_000
# Writers at full speed outrun whoever waits for an empty batch: this near, the rest is left to the last step.
LAG_EVENTS_MAX = 2_000

Report = Callable[[Progress], None]

_HOLDER = """
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND objid = %s AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# Still there only if what it was doing could not be cancelled.
_END = """
SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity
WHERE pid = %s AND datname = current_database() AND application_name = current_setting('application_name')
"""
END_MS_MAX = 5_000


_PARK_ORPHANS = """
WITH orphans AS (
    SELECT id FROM {orders} AS placed WHERE NOT EXISTS (SELECT FROM {users} WHERE id = placed.user_id)
    UNION
    SELECT order_id FROM {order_items} AS item WHERE NOT EXISTS (SELECT FROM {products} WHERE id = item.product_id)
), newly_parked AS (
    INSERT INTO {parked} (stream, position, version, type, error, skipped, parked_at)
    SELECT stream, position, version, type, 'refers to a row that is not there', false, clock_timestamp()
    FROM log.events WHERE log_id = 0 AND version = 1 AND stream IN (SELECT 'order-' || id FROM orphans)
    ON CONFLICT (stream) DO UPDATE SET position = excluded.position, version = excluded.version,
        type = excluded.type, error = excluded.error
    RETURNING old.stream IS NULL AS is_new
), without_items AS (
    DELETE FROM {order_items} WHERE order_id IN (SELECT id FROM orphans)
), without_orders AS (
    DELETE FROM {orders} WHERE id IN (SELECT id FROM orphans)
)
UPDATE {checkpoint} SET parked = parked + (SELECT count(*) FROM newly_parked WHERE is_new)
"""

_SKIPPED_MEANWHILE = """
SELECT parked.stream FROM {parked} AS parked JOIN log.skips AS skip ON skip.position = parked.position
WHERE skip.log_id = 0 AND NOT parked.skipped ORDER BY parked.position
"""


class Busy(Exception):
    """Another replay or verify is running."""


@contextmanager
def building(database_url: str) -> Iterator[Connection]:
    """The connection of a replay or verify, which holds the lock that there be only one. Raises Busy."""
    connection = connect(database_url)
    process = connection.info.backend_pid
    try:
        with connection, only_one(connection):
            yield connection
    except (KeyboardInterrupt, SystemExit):
        # They come in the middle of anything, and may leave the connection unfit for tidying up.
        with contextlib.suppress(psycopg.OperationalError, Busy), connect(database_url) as another:
            another.execute(_END, (END_MS_MAX, process))
            with only_one(another):
                pass  # that drops what is left
        raise


@contextmanager
def only_one(connection: Connection) -> Iterator[None]:
    """Hold the lock of replay and verify. Raises Busy. The lock goes with the connection, however that ends."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (tables.REBUILD_LOCK,)).fetchone()
    if row is None or not row[0]:
        holder = connection.execute(_HOLDER, (tables.REBUILD_LOCK,)).fetchone()
        raise Busy(f"another replay or verify is running (PostgreSQL process {holder[0] if holder else 'unknown'})")
    try:
        # What a replay or verify that was killed has left behind.
        for schema in (REPLAY_SCHEMA, VERIFY_SCHEMA):
            drop_schema(connection, schema)
        yield
    finally:
        with contextlib.suppress(psycopg.OperationalError):
            connection.execute("SELECT pg_advisory_unlock(%s)", (tables.REBUILD_LOCK,))


def drop_schema(connection: Connection, schema: str) -> None:
    """Drop a schema with all that is in it, if it is there."""
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


class Shadow:
    """The read tables in a schema of their own, from event 1. Made by `with`, and gone after it unless renamed."""

    def __init__(
        self, connection: Connection, schema: str, *, read_page: ReadPage = read.page, logged: bool = True
    ) -> None:
        self.schema = schema
        self.loop = Loop(schema, read_page=read_page)
        self._connection = connection
        self._logged = logged
        self._metadata = MetaData(naming_convention=tables.metadata.naming_convention)
        for table in tables.metadata.sorted_tables:
            table.to_metadata(self._metadata, schema=schema, referred_schema_fn=lambda *_: schema)

    def __enter__(self) -> Self:
        """Make the empty tables."""
        with self._connection.transaction():
            self._connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self.schema)))
            for table in self._metadata.sorted_tables:
                self._run(CreateTable(table, include_foreign_key_constraints=[]))
                if not self._logged:
                    name = sql.Identifier(self.schema, table.name)
                    self._connection.execute(sql.SQL("ALTER TABLE {} SET UNLOGGED").format(name))
                for column in table.columns:
                    if column.comment:
                        self._run(SetColumnComment(column))
            start = "INSERT INTO {} (name, position, updated_at, seen_at, parked) VALUES (%s, 0, now(), now(), 0)"
            checkpoint = sql.Identifier(self.schema, "checkpoint")
            self._connection.execute(sql.SQL(start).format(checkpoint), (CHECKPOINT,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop what is under its name; without a connection that is left to the next one who builds."""
        with contextlib.suppress(psycopg.OperationalError):
            drop_schema(self._connection, self.schema)

    def fill(self, report: Report, goal: Callable[[], int] | None = None) -> None:
        """Project until the end of the log, or the position that `goal` tells, is near."""
        while True:
            progress = self.loop.project(self._connection, BATCH_EVENTS, goal() if goal else None)
            report(progress)
            if progress.lag <= LAG_EVENTS_MAX:
                return

    def finish(self) -> None:
        """Add foreign keys and indexes, and tell the planner what is there."""
        try:
            self._add_keys_and_indexes()
        except psycopg.errors.ForeignKeyViolation:
            self.park_orphans()
            self._add_keys_and_indexes()
        for table in self._metadata.sorted_tables:
            self._connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(self.schema, table.name)))

    def park_orphans(self) -> None:
        """Park orders that refer to what never was: the serving tables' foreign keys do so at once."""
        self._connection.execute(self._named(_PARK_ORPHANS))

    def heed_skips(self) -> None:
        """Drain the streams that were parked here before an operator had their event skipped."""
        for (stream,) in self._connection.execute(self._named(_SKIPPED_MEANWHILE)).fetchall():
            drain(self.loop, self._connection, stream)

    def _named(self, statement: str) -> sql.Composed:
        names = {table.name: sql.Identifier(self.schema, table.name) for table in tables.metadata.sorted_tables}
        return sql.SQL(statement).format(**names)

    def _add_keys_and_indexes(self) -> None:
        with self._connection.transaction():
            for table in self._metadata.sorted_tables:
                for index in sorted(table.indexes, key=lambda index: str(index.name)):
                    self._run(CreateIndex(index))
                for constraint in table.foreign_key_constraints:
                    self._run(AddConstraint(constraint))

    def _run(self, ddl: ExecutableDDLElement) -> None:
        self._connection.execute(str(ddl.compile(dialect=_DIALECT)).encode())


_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
