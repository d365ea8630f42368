"""What stands in the database at one moment: the log with all that is kept beside it, and the read tables."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, IsolationLevel
from psycopg.rows import dict_row

_EVENTS = b"""
SELECT position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata
FROM log.events ORDER BY position
"""

Row = dict[str, Any]


class StoredEvent(NamedTuple):
    """An event as it stands in the log."""

    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    occurred_at: datetime
    recorded_at: datetime
    data: dict[str, Any]
    metadata: dict[str, Any]

    @property
    def tag(self) -> str | None:
        """The command that made it, as its sender calls it."""
        return self.metadata.get("request_id")

    def __str__(self) -> str:
        return f"event {self.position} ({self.type}, {self.stream} {self.version})"


@dataclass(frozen=True)
class Snapshot:
    """All of it, read in one transaction."""

    events: list[StoredEvent]
    head: int
    claims: dict[str, str]
    keys: list[Row]
    snapshots: list[Row]
    checkpoint: int
    tables: dict[str, list[Row]]

    @classmethod
    def take(cls, database_url: str) -> "Snapshot":
        with psycopg.connect(database_url) as connection:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            connection.execute("SET timezone = 'UTC'")
            ((head,),) = connection.execute("SELECT position FROM log.head").fetchall()
            ((checkpoint,),) = connection.execute("SELECT position FROM shop.checkpoint").fetchall()
            return cls(
                events=[StoredEvent(*row) for row in connection.execute(_EVENTS)],
                head=head,
                claims=dict(connection.execute("SELECT claim, stream FROM log.claims").fetchall()),
                keys=_rows(connection, "log.idempotency_keys"),
                snapshots=_rows(connection, "log.snapshots"),
                checkpoint=checkpoint,
                tables={
                    name: _rows(connection, f"shop.{name}") for name in ("users", "products", "orders", "order_items")
                },
            )


def _rows(connection: Connection, table: str) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"SELECT * FROM {table}".encode()).fetchall()
