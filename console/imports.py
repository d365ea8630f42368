"""The runs of `orders import`, as service/import_runs.py records them."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

REPAIR = (
    "correct the rows in their files and import these again; if the rows are right, mend what they lack and run the "
    "same command with `--retry`"
)
# An import that works writes down every two seconds how far it is.
STALLED_AFTER = timedelta(seconds=15)

_IMPORTS = b"""
SELECT id::text, path, started_at, progressed_at, finished_at, bytes_read, bytes_total, accepted, already_there, events,
    refused, first_rejects, error, clock_timestamp() AS now
FROM operations.imports ORDER BY imports.id DESC LIMIT %s
"""


class Import(NamedTuple):
    """A run of `orders import`. `refused` counts rows by code; `error` says why it stopped before its end."""

    id: str
    path: str
    started_at: datetime
    progressed_at: datetime
    finished_at: datetime | None
    bytes_read: int
    bytes_total: int
    accepted: int
    already_there: int
    events: int
    refused: dict[str, int]
    first_rejects: list[dict[str, Any]]
    error: str | None
    now: datetime

    @property
    def seconds(self) -> float:
        return ((self.finished_at or self.now) - self.started_at).total_seconds()

    @property
    def share(self) -> float:
        """How much of the files was read, from 0 to 1."""
        return self.bytes_read / self.bytes_total if self.bytes_total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the rate so far; None before the first rows."""
        return self.seconds / self.share * (1 - self.share) if self.share else None

    @property
    def stalled_for(self) -> timedelta | None:
        """For how long no row was done, if the import has not ended and that is too long."""
        silence = self.now - self.progressed_at
        # A time in the future: the clock was set back since.
        is_stalled = self.finished_at is None and abs(silence) > STALLED_AFTER
        return max(silence, STALLED_AFTER) if is_stalled else None

    @property
    def rows(self) -> int:
        return self.accepted + self.already_there + sum(self.refused.values())


def newest(connection: Connection, limit: int) -> list[Import]:
    """At most `limit` runs, newest first. Raises psycopg.Error."""
    return connection.cursor(row_factory=class_row(Import)).execute(_IMPORTS, (limit,)).fetchall()
