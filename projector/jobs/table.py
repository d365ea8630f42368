"""The table operations.jobs: what was asked for, by whom and why, how far it is, and what came of it."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args

from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row
from psycopg.types.json import Json

Kind = Literal["replay", "verify", "retry", "skip"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# A rate of the first moments says nothing about the rest.
ESTIMATE_AFTER = timedelta(seconds=1)

_SELECT = b"""
SELECT id::text, kind, projection, stream, at_position, type, error, streams, reason, asked_by, asked_at, state, worker,
    attempts, started_at, seen_at, done_events, of_events, finished_at, result, clock_timestamp() AS now
FROM operations.jobs
"""
# Of the table: `id` alone is the text above, which no index has.
_LATEST = _SELECT + b"ORDER BY jobs.id DESC LIMIT %s"
_ONE = _SELECT + b"WHERE id = %s::uuid"
_OPEN = _SELECT + b"WHERE state IN ('waiting', 'running') ORDER BY jobs.id"

_INSERT = b"""
INSERT INTO operations.jobs (id, kind, projection, stream, at_position, type, error, streams, reason, asked_by)
VALUES (%(id)s, %(kind)s, %(projection)s, %(stream)s, %(at_position)s, %(type)s, %(error)s, %(streams)s, %(reason)s,
    %(asked_by)s)
"""

# A job that is `running` was left by a worker that ended: only one worker has the right to run jobs.
_CLAIM = b"""
UPDATE operations.jobs SET state = 'running', worker = %s, attempts = attempts + 1, started_at = clock_timestamp(),
    seen_at = clock_timestamp(), done_events = NULL, of_events = NULL
WHERE id = (SELECT id FROM operations.jobs WHERE state IN ('waiting', 'running') ORDER BY id LIMIT 1)
RETURNING id::text
"""
_PROGRESS = b"""
UPDATE operations.jobs SET done_events = %s, of_events = %s, seen_at = clock_timestamp() WHERE id = %s
"""
_GIVE_BACK = b"UPDATE operations.jobs SET state = 'waiting', attempts = attempts - 1 WHERE id = %s"
_FINISH = b"""
UPDATE operations.jobs SET state = %s, result = %s, finished_at = clock_timestamp(), seen_at = clock_timestamp()
WHERE id = %s
"""


class Wanted(NamedTuple):
    """An operator's request.

    A retry or skip is of one `stream`, or of the group of parked streams with this `type` and `error` (see
    projector/parked.py), which had `streams` streams when the operator saw it. A retry of neither is of all streams.
    `at_position` is the event of the stream that a skip leaves out.
    """

    kind: Kind
    projection: str
    stream: str | None = None
    at_position: int | None = None
    type: str | None = None
    error: str | None = None
    streams: int | None = None
    reason: str | None = None

    @property
    def title(self) -> str:
        match self.kind:
            case "replay":
                return f"Rebuild {self.projection}"
            case "verify":
                return f"Verify {self.projection}"
            case "retry":
                return f"Retry {self.target}"
        return f"Skip one event of {self.target}"

    @property
    def target(self) -> str:
        if self.kind in {"replay", "verify"}:
            return self.projection
        if self.stream is not None:
            return f"{self.stream} in {self.projection}"
        number = "all parked streams" if self.streams is None else f"{self.streams:,} parked streams"
        return f"{number} of {self.projection}" + (f" at {self.type}" if self.type else "")


class Job(NamedTuple):
    """A row of the table. `now` is the database's time; `done_events` of `of_events` are folded so far."""

    id: str
    kind: Kind
    projection: str
    stream: str | None
    at_position: int | None
    type: str | None
    error: str | None
    streams: int | None
    reason: str | None
    asked_by: str
    asked_at: datetime
    state: str
    worker: str | None
    attempts: int
    started_at: datetime | None
    seen_at: datetime | None
    done_events: int | None
    of_events: int | None
    finished_at: datetime | None
    result: Mapping[str, Any] | None
    now: datetime

    @property
    def wanted(self) -> Wanted:
        return Wanted(*(getattr(self, name) for name in Wanted._fields))

    @property
    def is_open(self) -> bool:
        return self.state in {"waiting", "running"}

    @property
    def progress(self) -> float | None:
        """How much is done, from 0 to 1; None when that is not known."""
        if self.state != "running" or self.done_events is None or self.of_events is None:
            return None
        return min(1.0, self.done_events / self.of_events) if self.of_events else 1.0

    @property
    def events_per_second(self) -> float | None:
        """The rate so far; None in the first second."""
        if not self.done_events or self.started_at is None or self.seen_at is None:
            return None
        taken = self.seen_at - self.started_at
        return self.done_events / taken.total_seconds() if taken >= ESTIMATE_AFTER else None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the rate so far; None when that is not known."""
        if self.progress is None or self.of_events is None or self.done_events is None or not self.events_per_second:
            return None
        return max(0, self.of_events - self.done_events) / self.events_per_second

    @property
    def runs_for(self) -> timedelta | None:
        return None if self.started_at is None else (self.finished_at or self.now) - self.started_at


async def insert(connection: AsyncConnection, id_: str, wanted: Wanted, asked_by: str) -> None:
    """Add a job that waits for a worker. Raises psycopg.Error."""
    await connection.execute(_INSERT, {**wanted._asdict(), "id": id_, "asked_by": asked_by})


def latest(connection: Connection, limit: int) -> list[Job]:
    return connection.cursor(row_factory=class_row(Job)).execute(_LATEST, (limit,)).fetchall()


def one(connection: Connection, id_: str) -> Job | None:
    return connection.cursor(row_factory=class_row(Job)).execute(_ONE, (id_,)).fetchone()


def open_jobs(connection: Connection) -> list[Job]:
    """The jobs that wait or run, oldest first. Raises psycopg.Error."""
    return connection.cursor(row_factory=class_row(Job)).execute(_OPEN).fetchall()


def claim(connection: Connection, worker: str) -> Job | None:
    """Mark the oldest open job as running, if there is one. The caller must hold the right to run jobs."""
    row = connection.execute(_CLAIM, (worker,)).fetchone()
    return one(connection, row[0]) if row else None


def note_progress(connection: Connection, id_: str, done_events: int, of_events: int) -> None:
    connection.execute(_PROGRESS, (done_events, of_events, id_))


def give_back(connection: Connection, id_: str) -> None:
    """Have a job wait again: the worker stops."""
    connection.execute(_GIVE_BACK, (id_,))


def finish(connection: Connection, id_: str, result: Mapping[str, Any], *, failed: bool = False) -> None:
    value = Json(result, dumps=lambda it: json.dumps(it, default=str))
    connection.execute(_FINISH, ("failed" if failed else "done", value, id_))
