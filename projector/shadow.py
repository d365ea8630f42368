"""Tables built beside those that serve: for a replay, which swaps them, and for verify, which compares them.

Foreign keys and indexes come after the rows, which is several times faster. Primary keys come first, because rows that
change later are found by them.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Self

import psycopg
from psycopg import Connection, sql

from projector.connecting import LIMITS, connect
from projector.dependents import InTheWay, built_on, made_in, refuse_added, undo_defaults
from projector.loop import Loop, Progress
from projector.paging import ReadPage
from projector.parked import drain
from projector.projection import Projection
from projector.tables import Tables, comment_on

# Large batches spare updates: of a product that is sold all day only the last stock of each batch is written.
BATCH_EVENTS = 100_000
# The end of the log is near when a batch reaches the head that it saw in so short a time: the events that came
# meanwhile take no longer. On an overloaded machine no batch may be so short, so it tries only so often.
NEAR_SECONDS, NEAR_TRIES = 0.5, 10
# While pages are read and folded, the connection that writes stands still in its transaction: for seconds where the
# disk and the processors are busy. It holds only tables that no other session uses.
LIMITS_OF_BUILDING = dataclasses.replace(LIMITS, idle_in_transaction=600)

Report = Callable[[Progress], None]

# The advisory lock of a replay or verify: its class, and the projection's name as the object.
LOCK_CLASS = 0x6F7264
_LOCK = "SELECT pg_try_advisory_lock(%s, hashtext(%s))"
_UNLOCK = "SELECT pg_advisory_unlock(%s, hashtext(%s))"

# The comment that marks a schema as one that orders may drop. The schema that serves has another one.
TO_BE_DROPPED = "orders builds its read tables here, or has retired them: it drops this schema"

_HOLDER = """
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND classid = %s AND objid = hashtext(%s)::bigint & 4294967295 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# Still there only if what it was doing could not be cancelled.
_END = """
SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity
WHERE pid = %s AND datname = current_database() AND application_name = current_setting('application_name')
"""
END_MS_MAX = 5_000

_SCHEMA = """
SELECT obj_description(oid, 'pg_namespace'::name), nspowner::regrole::text, pg_has_role(nspowner, 'USAGE')
FROM pg_namespace WHERE nspname = %s
"""

_PARK = """
WITH newly_parked AS (
    INSERT INTO {parked} (stream, position, version, type, error, skipped, parked_at)
    SELECT stream, position, version, type, 'refers to a row that is not there', false, clock_timestamp()
    FROM log.events WHERE version = 1 AND stream = ANY(%(streams)s)
    ON CONFLICT (stream) DO UPDATE SET position = excluded.position, version = excluded.version,
        type = excluded.type, error = excluded.error
    RETURNING old.stream IS NULL AS is_new
)
UPDATE {checkpoint} SET parked_changes = parked_changes + 1,
    parked = parked + (SELECT count(*) FROM newly_parked WHERE is_new)
"""

_SKIPPED_MEANWHILE = """
SELECT parked.stream FROM {parked} AS parked JOIN log.skips AS skip ON skip.position = parked.position
WHERE skip.projection = %s AND NOT parked.skipped ORDER BY parked.position
"""


class Stopped(Exception):
    """The process stops: a report raises it to end a rebuild in the middle."""


class Busy(Exception):
    """Another replay or verify of the projection is running."""


def built_beside(projection: Projection) -> str:
    """The schema in which a replay builds the projection's new tables."""
    return f"{projection.name}_next"


def built_for_proof(projection: Projection) -> str:
    """The schema in which verify folds the log once more."""
    return f"{projection.name}_verify"


@contextmanager
def building(database_url: str, projection: Projection) -> Iterator[Connection]:
    """The connection of a replay or verify, with the lock that keeps out a second one. Raises Busy."""
    connection = connect(database_url, limits=LIMITS_OF_BUILDING)
    ((process,),) = connection.execute(b"SELECT pg_backend_pid()").fetchall()  # a pooler tells another one
    try:
        with connection, only_one(connection, projection):
            yield connection
    except (KeyboardInterrupt, SystemExit):
        # The interrupted connection may be unusable, so another one drops the tables.
        with contextlib.suppress(psycopg.OperationalError, Busy, InTheWay), connect(database_url) as another:
            another.execute(_END, (END_MS_MAX, process))
            with only_one(another, projection):
                pass  # that drops what is left
        raise


@contextmanager
def only_one(connection: Connection, projection: Projection) -> Iterator[None]:
    """Hold the lock of replay and verify. Raises Busy. The lock ends with the connection, however that ends."""
    ((is_ours,),) = connection.execute(_LOCK, (LOCK_CLASS, projection.name)).fetchall()
    if not is_ours:
        holder = connection.execute(_HOLDER, (LOCK_CLASS, projection.name)).fetchone()
        process = holder[0] if holder else "unknown"
        raise Busy(f"another replay or verify of {projection.name} is running (PostgreSQL process {process})")
    try:
        # Schemas that a killed replay or verify has left behind.
        for schema in (built_beside(projection), built_for_proof(projection)):
            drop_schema(connection, projection, schema)
        yield
    finally:
        with contextlib.suppress(psycopg.OperationalError):
            connection.execute(_UNLOCK, (LOCK_CLASS, projection.name))


def drop_schema(connection: Connection, projection: Projection, schema: str) -> None:
    """Drop the schema that a replay or a verify has made.

    Raises InTheWay if it is of others, because it lacks the comment, if others have put something into it or on it, or
    if another role has left it behind.
    """
    for comment, owner, is_ours in connection.execute(_SCHEMA, (schema,)).fetchall():
        if comment != TO_BE_DROPPED:
            raise InTheWay(f"the schema {schema} is not of orders, and a rebuild or a verify needs its name: rename it")
        if not is_ours:
            raise InTheWay(f"role {owner} has left the schema {schema} behind: as {owner} or a superuser, drop it")
    undo_defaults(connection, schema)
    if built := built_on(connection, schema):
        raise InTheWay(f"the schema {schema} cannot be dropped, because this is built on it: {built}; drop that")
    refuse_added(connection, schema, made_in(connection, projection, schema))
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


class Shadow:
    """The tables of a projection in a schema of their own, from event 1. Dropped after the `with` unless renamed."""

    def __init__(
        self,
        connection: Connection,
        projection: Projection,
        schema: str,
        *,
        read_page: ReadPage | None = None,
        logged: bool = True,
    ) -> None:
        self.schema = schema
        self.loop = Loop(projection, schema, read_page)
        self._projection = projection
        self._connection = connection
        self._logged = logged
        self._tables = Tables(projection, schema)

    def __enter__(self) -> Self:
        with self._connection.transaction():
            self._tables.create(self._connection)
            undo_defaults(self._connection, self.schema)
            if not self._logged:
                for table in self._tables.metadata.sorted_tables:
                    name = sql.Identifier(self.schema, table.name)
                    self._connection.execute(sql.SQL("ALTER TABLE {} SET UNLOGGED").format(name))
            comment_on(self._connection, self.schema, TO_BE_DROPPED)
            # Try to drop the schema before the work: if an event trigger forbids that, nothing is left behind yet.
            with self._connection.transaction(force_rollback=True):
                drop_schema(self._connection, self._projection, self.schema)
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the schema, if it is still there. If that cannot be done now, the next replay or verify does it."""
        with contextlib.suppress(psycopg.OperationalError, InTheWay):
            drop_schema(self._connection, self._projection, self.schema)

    def fill(self, report: Report, goal: Callable[[], int] | None = None) -> None:
        """Project until the end of the log, or the position of `goal`, is near: the rest comes under a lock."""
        tries = 0
        while tries < NEAR_TRIES:
            began = perf_counter()
            progress = self.loop.project(self._connection, BATCH_EVENTS, goal() if goal else None)
            report(progress)
            if not progress.lag:
                tries = NEAR_TRIES if perf_counter() - began <= NEAR_SECONDS else tries + 1

    def finish(self) -> None:
        """Add foreign keys and indexes, and tell the planner what is there."""
        try:
            self._tables.add_keys_and_indexes(self._connection)
        except psycopg.errors.ForeignKeyViolation:
            self.park_orphans()
            self._tables.add_keys_and_indexes(self._connection)
        self._tables.analyze(self._connection)

    def park_orphans(self) -> None:
        """Park the streams whose rows refer to missing rows, and drop their rows, as foreign keys make the loop do."""
        while streams := sorted(self._orphans()):
            with self._connection.transaction():
                self._connection.execute(self._named(_PARK), {"streams": streams})
                for table in reversed(self._projection.plain_tables):
                    self._drop_rows(table.name, streams)

    def _orphans(self) -> Iterator[str]:
        """The streams that have a row which refers to a missing one."""
        for table in self._projection.plain_tables:
            for key in table.foreign_keys:
                kind, column = self._projection.stream_columns[table.name]
                found = self._connection.execute(
                    sql.SQL(
                        "SELECT DISTINCT {prefix} || row.{column}::text FROM {table} AS row "
                        "WHERE row.{parent} IS NOT NULL "
                        "AND NOT EXISTS (SELECT FROM {referred} AS referred WHERE referred.{target} = row.{parent})"
                    ).format(
                        prefix=sql.Literal(f"{kind}-"),
                        column=sql.Identifier(column),
                        table=sql.Identifier(self.schema, table.name),
                        parent=sql.Identifier(key.parent.name),
                        referred=sql.Identifier(self.schema, key.column.table.name),
                        target=sql.Identifier(key.column.name),
                    )
                )
                yield from (stream for (stream,) in found.fetchall())

    def _drop_rows(self, table: str, streams: list[str]) -> None:
        if table in self._projection.stream_columns:
            kind, column = self._projection.stream_columns[table]
            statement = sql.SQL("DELETE FROM {} WHERE {} || {}::text = ANY(%s)").format(
                sql.Identifier(self.schema, table), sql.Literal(f"{kind}-"), sql.Identifier(column)
            )
            self._connection.execute(statement, (streams,))

    def apply_skips(self) -> None:
        """Drain the streams that were parked here before an operator skipped their event."""
        found = self._connection.execute(self._named(_SKIPPED_MEANWHILE), (self._projection.name,))
        if streams := [stream for (stream,) in found.fetchall()]:
            for _ in drain(self.loop, self._connection, streams):
                pass

    def _named(self, statement: str) -> sql.Composed:
        return sql.SQL(statement).format(
            checkpoint=sql.Identifier(self.schema, "checkpoint"), parked=sql.Identifier(self.schema, "parked")
        )
