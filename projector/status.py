"""What operators ask: how far the projections are behind the log, who works on them, and what is in their way."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from psycopg import Connection, sql

from eventlog import pages
from projector.shadow import REPLAY_SCHEMA
from readmodel import tables

# Whether a replay is building new read tables now: it holds the lock that it shares with verify, and has tables.
REPLAYING = (
    sql.SQL(
        "SELECT to_regnamespace({schema}) IS NOT NULL AND EXISTS ("
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = {lock} AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    )
    .format(schema=sql.Literal(REPLAY_SCHEMA), lock=sql.Literal(tables.REBUILD_LOCK))
    .as_bytes()
)

_CHECKPOINTS = sql.SQL(
    "SELECT name, position, updated_at, seen_at, worker, error, "
    "(SELECT count(*) FROM {parked} WHERE NOT skipped), clock_timestamp() FROM {checkpoint} ORDER BY name"
).format(checkpoint=sql.Identifier(tables.SCHEMA, "checkpoint"), parked=sql.Identifier(tables.SCHEMA, "parked"))

_LOG = b"SELECT log_uuid, position, recorded_at FROM log.head WHERE log_id = 0"


class Checkpoint(NamedTuple):
    """A projection's row of the checkpoint, and how many streams are parked; `now` is the database's clock."""

    name: str
    position: int
    updated_at: datetime
    seen_at: datetime
    worker: str | None
    error: str | None
    parked: int
    now: datetime


class Standing(NamedTuple):
    """A projection, the log's head, and since when the first event that it has not projected is waiting."""

    checkpoint: Checkpoint
    head: int
    waiting_since: datetime | None


class Status(NamedTuple):
    """The log and its projections. `recorded_at` is when the head was appended."""

    log_uuid: UUID
    head: int
    recorded_at: datetime
    replaying: bool
    projections: list[Standing]


def status(connection: Connection) -> Status:
    """How things stand. Raises psycopg.Error."""
    # The checkpoints are read before the head, so that none seems to be ahead of it.
    checkpoints = [Checkpoint(*row) for row in connection.execute(_CHECKPOINTS).fetchall()]
    standings = []
    for checkpoint in checkpoints:
        row = connection.execute(pages.HEAD, {"projected": checkpoint.position}).fetchone()
        assert row is not None, "the migration made the row of log.head"
        standings.append(Standing(checkpoint, *row))
    log = connection.execute(_LOG).fetchone()
    replaying = connection.execute(REPLAYING).fetchone()
    assert log is not None, "the migration made the row of log.head"
    assert replaying is not None, "EXISTS answers"
    log_uuid, head, recorded_at = log
    return Status(log_uuid, head, recorded_at, bool(replaying[0]), standings)
