"""The runs of `orders import`, as service/import_runs.py records them."""

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

_IMPORTS = b"""
SELECT id::text, path, started_at, finished_at, accepted, already_there, events, refused, first_rejects, error,
    clock_timestamp() AS now
FROM operations.imports ORDER BY id DESC LIMIT %s
"""


class Import(NamedTuple):
    """A run of `orders import`. `refused` counts rows by code; `error` says why it stopped before its end."""

    id: str
    path: str
    started_at: datetime
    finished_at: datetime | None
    accepted: int
    already_there: int
    events: int
    refused: dict[str, int]
    first_rejects: list[dict[str, Any]]
    error: str | None
    now: datetime

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return ((self.finished_at or self.now) - self.started_at).total_seconds()

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return self.accepted + self.already_there + sum(self.refused.values())


def newest(connection: Connection, limit: int) -> list[Import]:
    """At most `limit` runs, newest first. Raises psycopg.Error."""
    return connection.cursor(row_factory=class_row(Import)).execute(_IMPORTS, (limit,)).fetchall()
