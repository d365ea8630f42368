"""Where a loop writes: the rows of one projection, its parked streams and its checkpoint, in one transaction.

`PostgresWriter` writes beside the log. projector/mirror has the writers for other databases.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from psycopg import Connection, sql

from database.sessions import only_row
from projector import parking
from projector.checkpoint import Checkpoint, Seen
from projector.parking import Parked, Parking
from projector.rows import NewRows, Rows, write_new

_HOLD = "SELECT position, parked_changes FROM {} FOR UPDATE"
_RECORD = "UPDATE {} SET parked = %s, parked_changes = parked_changes + %s"


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

    def load_parked(self, connection: Connection) -> Sequence[Parked]:
        """All parked streams."""

    def write_new(self, connection: Connection, new: Sequence[NewRows]) -> None:
        """Write new rows."""

    def write(self, connection: Connection, rows: Rows) -> None:
        """Write all changes, and have `rows` forget them."""

    def write_parked(self, connection: Connection, parking: Parking) -> None:
        """Write the streams that were parked, and delete those that were released."""

    def move(self, connection: Connection, seen: Seen, position: int, parked: int, has_changed: bool) -> None:
        """Move the checkpoint from where it was seen. Raises Fenced."""

    def record_parked(self, connection: Connection, parked: int, has_changed: bool) -> None:
        """Record how many streams are parked, while the checkpoint is held."""


class PostgresWriter:
    """Writes into a schema of the log's own database, by the same connection."""

    def __init__(self, checkpoint: Checkpoint, schema: str) -> None:
        self._schema = schema
        self.look, self.lock, self.move = checkpoint.look, checkpoint.lock, checkpoint.move

    def transaction(self, connection: Connection) -> AbstractContextManager[object]:
        return connection.transaction()

    def hold(self, connection: Connection) -> tuple[int, int]:
        position, changes = only_row(connection.execute(self._named(_HOLD)).fetchone())
        return position, changes

    def load_parked(self, connection: Connection) -> Sequence[Parked]:
        return parking.load(connection, self._schema)

    def write_new(self, connection: Connection, new: Sequence[NewRows]) -> None:
        write_new(new, connection, self._schema)

    def write(self, connection: Connection, rows: Rows) -> None:
        rows.write(connection, self._schema)

    def write_parked(self, connection: Connection, parking: Parking) -> None:
        parking.write(connection, self._schema)

    def record_parked(self, connection: Connection, parked: int, has_changed: bool) -> None:
        connection.execute(self._named(_RECORD), (parked, int(has_changed)))

    def _named(self, statement: str) -> sql.Composed:
        return sql.SQL(statement).format(sql.Identifier(self._schema, "checkpoint"))
