"""The checkpoint: one row beside the tables of a projection, with their position and the worker that looked last."""

import os
import socket
from typing import NamedTuple

from psycopg import Connection, sql

from database.position_group import NEWEST, NEWEST_HEAD
from database.sessions import only_row
from eventlog import skips
from projector.projection import Projection

WORKER = f"{socket.gethostname()}:{os.getpid()}"

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


class AheadOfLog(Exception):
    """The read tables are ahead of the log: it was restored without them."""


class OtherVersion(Exception):
    """Another version of the projection built the tables: `built` is theirs, `ours` is this release's."""

    def __init__(self, name: str, built: int, ours: int) -> None:
        super().__init__(f"the tables of {name} are of version {built}, this release has version {ours}")
        self.built, self.ours = built, ours


class Fenced(Exception):
    """Another process moved the checkpoint in the middle of a batch; this batch was rolled back."""


class Seen(NamedTuple):
    """The checkpoint and the head of the log, as one statement read them."""

    position: int
    head: int
    version: int
    parked: int
    parked_changes: int
    last_skip: int


class Checkpoint:
    """The checkpoint of `projection` in `schema`."""

    def __init__(self, projection: Projection, schema: str) -> None:
        self._projection = projection
        names = {
            "checkpoint": sql.Identifier(schema, "checkpoint"),
            "newest": sql.SQL(NEWEST),
            "last_skip": sql.SQL(skips.LAST_POSITION),
            "head": sql.SQL(NEWEST_HEAD),
        }
        self._look, self._lock, self._move, self._beat, self._fail = (
            sql.SQL(statement).format(**names) for statement in (_LOOK, _LOCK, _MOVE, _BEAT, _FAIL)
        )

    def look(self, connection: Connection) -> Seen:
        """Where the tables and the log are. Takes no lock and writes nothing. Raises OtherVersion."""
        seen = Seen(*only_row(connection.execute(self._look, {"projection": self._projection.name}).fetchone()))
        if seen.version != self._projection.version:
            raise OtherVersion(self._projection.name, seen.version, self._projection.version)
        return seen

    def lock(self, connection: Connection, seen: Seen) -> bool:
        """Lock the checkpoint until the transaction ends; False if it is locked, or has changed since it was seen."""
        return connection.execute(self._lock, seen._asdict()).rowcount == 1

    def move(self, connection: Connection, seen: Seen, position: int, parked: int, has_changed: bool) -> None:
        """Move the checkpoint from where it was seen. Raises Fenced.

        `parked` is how many streams are parked now, `has_changed` whether the table of parked streams was changed.
        """
        values = (position, WORKER, parked, int(has_changed), seen.position)
        if connection.execute(self._move, values).rowcount != 1:
            raise Fenced(f"the checkpoint is no longer at {seen.position}")

    def beat(self, connection: Connection, head: int) -> None:
        """Record that a projector is alive and has nothing to project.

        If the tables have reached `head`, the last failure is over.
        """
        with connection.transaction():
            connection.execute(self._beat, (WORKER, head))

    def report(self, connection: Connection, error: str) -> None:
        """Record why nothing is projected."""
        with connection.transaction():
            connection.execute(self._fail, (error, WORKER))
