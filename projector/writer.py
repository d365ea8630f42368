"""Where a loop writes: the rows of one projection, its parked streams and its checkpoint, in one transaction.

`PostgresWriter` writes beside the log. projector/mirror has the writers for other databases.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from psycopg import Connection, sql

from database.position_group import NEWEST, NEWEST_HEAD
from database.sessions import only_row
from eventlog import skips
from projector.checkpoint import WORKER, Fenced, OtherVersion, Seen
from projector.parking import Parked, Parking
from projector.projection import Projection
from projector.rows import NewRows, Rows

# `position_group` finds the newest version of the row beside older ones (see database/position_group.py).
_LOOK = (
    "SELECT checkpoint.position, head.position, checkpoint.version, checkpoint.parked, checkpoint.parked_changes, "
    "{last_skip} FROM (SELECT * FROM {checkpoint} {newest}) AS checkpoint, {head}"
)
_LOCK = (
    "SELECT FROM {checkpoint} WHERE ctid = (SELECT ctid FROM {checkpoint} {newest}) "
    "AND position = %(position)s AND parked_changes = %(parked_changes)s FOR UPDATE SKIP LOCKED"
)
_MOVE = (
    "UPDATE {checkpoint} SET position = %s, updated_at = clock_timestamp(), seen_at = clock_timestamp(), worker = %s, "
    "error = NULL, parked = %s, parked_changes = parked_changes + %s "
    "WHERE ctid = (SELECT ctid FROM {checkpoint} {newest}) AND position = %s"
)
_BEAT = (
    "UPDATE {checkpoint} SET seen_at = clock_timestamp(), worker = %s, error = CASE WHEN position < %s THEN error END "
    "WHERE ctid = (SELECT ctid FROM {checkpoint} {newest} FOR UPDATE SKIP LOCKED)"
)
_FAIL = (
    "UPDATE {checkpoint} SET error = %s, seen_at = clock_timestamp(), worker = %s "
    "WHERE ctid = (SELECT ctid FROM {checkpoint} {newest} FOR UPDATE)"
)
_HOLD = "SELECT position, parked_changes FROM {checkpoint} FOR UPDATE"
_RECORD_PARKED = "UPDATE {checkpoint} SET parked = %s, parked_changes = parked_changes + %s"

_KEPT = "SELECT stream, version, skipped FROM {parked}"
_PARKED = "SELECT stream, position, version, type, error, behind, skipped FROM {parked} WHERE stream = ANY(%s)"
_WAITING = "SELECT stream, position FROM {parked} WHERE NOT skipped AND position > %s ORDER BY position LIMIT %s"
_PARK = """
INSERT INTO {parked} AS old (stream, position, version, type, error, behind, skipped, parked_at)
SELECT *, clock_timestamp() FROM unnest(%s::text[], %s::bigint[], %s::integer[], %s::text[], %s::text[], %s::text[],
    %s::boolean[])
ON CONFLICT (stream) DO UPDATE SET position = excluded.position, version = excluded.version, type = excluded.type,
    error = excluded.error, behind = excluded.behind, skipped = excluded.skipped
"""
_RELEASE = "DELETE FROM {parked} WHERE stream = ANY(%s)"


class Writer(Protocol):
    """Writes one projection's tables. `connection` is always the connection to the log."""

    def look(self, connection: Connection) -> Seen:
        """Where the tables and the log are. Takes no lock and writes nothing. Raises OtherVersion."""

    def transaction(self, connection: Connection) -> AbstractContextManager[object]:
        """A transaction of the database that has the tables: it commits if the block raises nothing."""

    def lock(self, connection: Connection, seen: Seen) -> bool:
        """Lock the checkpoint until the transaction ends; False if it is locked, or has changed since it was seen."""

    def hold(self, connection: Connection) -> tuple[int, int]:
        """Wait for the checkpoint and lock it; its position and its count of changes to the parked streams."""

    def kept(self, connection: Connection) -> Iterable[tuple[str, int, bool]]:
        """All parked streams, each with the version of its first event, and whether it stays out for good."""

    def parked(self, connection: Connection, streams: Sequence[str]) -> dict[str, Parked]:
        """Those of the streams that are parked."""

    def waiting(self, connection: Connection, after: int, limit: int) -> dict[str, int]:
        """Parked streams that do not stay out for good, each with the position, behind `after`, of its first event."""

    def write_new(self, connection: Connection, new: Sequence[NewRows]) -> None:
        """Write new rows."""

    def write(self, connection: Connection, rows: Rows) -> None:
        """Write all changes, and have `rows` forget them."""

    def write_parked(self, connection: Connection, parking: Parking) -> None:
        """Write the streams that were parked, and delete those that were released."""

    def move(self, connection: Connection, seen: Seen, position: int, parked: int, has_changed: bool) -> None:
        """Move the checkpoint from where it was seen. Raises Fenced.

        `parked` is how many streams are parked now, `has_changed` whether the table of parked streams was changed.
        """

    def record_parked(self, connection: Connection, parked: int, has_changed: bool) -> None:
        """Record how many streams are parked, while the checkpoint is held."""


class PostgresWriter:
    """Writes into `schema` (None: that of the projection) of the log's own database, by the same connection."""

    def __init__(self, projection: Projection, schema: str | None = None) -> None:
        self._projection = projection
        self._schema = schema or projection.name
        self._names = {
            "checkpoint": sql.Identifier(self._schema, "checkpoint"),
            "parked": sql.Identifier(self._schema, "parked"),
            "newest": sql.SQL(NEWEST),
            "last_skip": sql.SQL(skips.LAST_POSITION),
            "head": sql.SQL(NEWEST_HEAD),
        }
        # Composing a statement takes as long as sending it: these are sent with every batch.
        self._look, self._lock, self._move, self._beat = map(self._named, (_LOOK, _LOCK, _MOVE, _BEAT))

    def look(self, connection: Connection) -> Seen:
        seen = Seen(*only_row(connection.execute(self._look, {"projection": self._projection.name}).fetchone()))
        if seen.version != self._projection.version:
            raise OtherVersion(self._projection.name, seen.version, self._projection.version)
        return seen

    def transaction(self, connection: Connection) -> AbstractContextManager[object]:
        return connection.transaction()

    def lock(self, connection: Connection, seen: Seen) -> bool:
        return connection.execute(self._lock, seen._asdict()).rowcount == 1

    def hold(self, connection: Connection) -> tuple[int, int]:
        position, changes = only_row(connection.execute(self._named(_HOLD)).fetchone())
        return position, changes

    def kept(self, connection: Connection) -> Iterable[tuple[str, int, bool]]:
        return connection.execute(self._named(_KEPT))

    def parked(self, connection: Connection, streams: Sequence[str]) -> dict[str, Parked]:
        return {row[0]: Parked(*row) for row in connection.execute(self._named(_PARKED), (list(streams),))}

    def waiting(self, connection: Connection, after: int, limit: int) -> dict[str, int]:
        return dict(connection.execute(self._named(_WAITING), (after, limit)).fetchall())

    def write_new(self, connection: Connection, new: Sequence[NewRows]) -> None:
        for rows in new:
            rows.write(connection, self._schema)

    def write(self, connection: Connection, rows: Rows) -> None:
        rows.write(connection, self._schema)

    def write_parked(self, connection: Connection, parking: Parking) -> None:
        if gone := parking.released - parking.new.keys():
            connection.execute(self._named(_RELEASE), (list(gone),))
        if parking.new:
            columns = [list(values) for values in zip(*parking.new.values(), strict=True)]
            connection.execute(self._named(_PARK), columns)

    def move(self, connection: Connection, seen: Seen, position: int, parked: int, has_changed: bool) -> None:
        values = (position, WORKER, parked, int(has_changed), seen.position)
        if connection.execute(self._move, values).rowcount != 1:
            raise Fenced(f"the checkpoint is no longer at {seen.position}")

    def record_parked(self, connection: Connection, parked: int, has_changed: bool) -> None:
        connection.execute(self._named(_RECORD_PARKED), (parked, int(has_changed)))

    def beat(self, connection: Connection, head: int) -> None:
        """Record that a projector lives and has nothing to do. At `head` the last failure is over."""
        with connection.transaction():
            connection.execute(self._beat, (WORKER, head))

    def report(self, connection: Connection, error: str) -> None:
        with connection.transaction():
            connection.execute(self._named(_FAIL), (error, WORKER))

    def _named(self, statement: str) -> sql.Composed:
        return sql.SQL(statement).format(**self._names)
