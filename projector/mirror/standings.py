"""Where the mirrors are: each writes its positions into the log's database. Without the right to, it is not listed."""

import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import psycopg
from psycopg import Connection

from database.position_group import NEWEST_HEAD
from database.remedies import in_one_line
from projector.checkpoint import WORKER
from projector.projection import Projection, named
from projector.status import STOPPED_AFTER, Building, Standing

BEAT_SECONDS = 1.0

# `ended_at` and `rebuilt_to` are null while the mirror follows the log.
_BEAT = b"""
INSERT INTO mirrors.standings AS old
    (target, projection, version, position, parked, worker, updated_at, seen_at)
VALUES (%(target)s, %(projection)s, %(version)s, %(position)s, %(parked)s, %(worker)s, clock_timestamp(),
    clock_timestamp())
ON CONFLICT (target, projection) DO UPDATE SET version = excluded.version, position = excluded.position,
    parked = excluded.parked, error = NULL, worker = excluded.worker, seen_at = excluded.seen_at,
    ended_at = NULL, rebuilt_to = NULL, rebuild_began_at = NULL,
    updated_at = CASE WHEN old.position = excluded.position THEN old.updated_at ELSE excluded.updated_at END
"""

# The version and the position are those of the tables that serve until the rebuild is over.
_BEAT_OF_REBUILD = b"""
INSERT INTO mirrors.standings AS old (target, projection, version, position, parked, worker, updated_at, seen_at,
    rebuilt_to, rebuild_began_at)
VALUES (%(target)s, %(projection)s, %(version)s, 0, 0, %(worker)s, clock_timestamp(), clock_timestamp(),
    %(position)s, clock_timestamp())
ON CONFLICT (target, projection) DO UPDATE SET error = NULL, worker = excluded.worker, seen_at = excluded.seen_at,
    ended_at = NULL, rebuilt_to = excluded.rebuilt_to,
    rebuild_began_at = coalesce(old.rebuild_began_at, excluded.rebuild_began_at)
"""

# It ends in order if there is no `error`.
_END = b"""
UPDATE mirrors.standings SET rebuilt_to = NULL, rebuild_began_at = NULL, error = coalesce(%(error)s, error),
    ended_at = CASE WHEN %(error)s::text IS NULL THEN clock_timestamp() END
WHERE target = %(target)s AND projection = ANY(%(projections)s)
"""

# Rows of mirrors that are gone stay until they are forgotten: status, metrics and pages list these many, seen last.
LISTED_MAX = 200

# The mirror's name and the rebuild, and then the columns of a Standing. A rebuild that no process works on is left out.
LISTED = f"""
SELECT mirror.target, mirror.ended_at, mirror.rebuilt_to, mirror.rebuild_began_at,
    mirror.projection, mirror.version, mirror.position, head.position,
    (SELECT recorded_at FROM log.events AS event WHERE event.position = mirror.position + 1),
    mirror.updated_at, mirror.seen_at, mirror.worker, mirror.error, mirror.parked, NULL::integer, clock_timestamp(),
    mirror.rebuilt_to IS NOT NULL
        AND abs(extract(epoch FROM clock_timestamp() - mirror.seen_at)) < {STOPPED_AFTER.seconds}
FROM (SELECT * FROM mirrors.standings ORDER BY seen_at DESC LIMIT {LISTED_MAX}) AS mirror, {NEWEST_HEAD}
ORDER BY mirror.target, mirror.projection
""".encode()  # noqa: S608 - put together from constants

_FORGET = b"""
DELETE FROM mirrors.standings WHERE target = ANY(%(targets)s) AND projection = ANY(%(projections)s)
RETURNING target, projection
"""

log = logging.getLogger(__name__)


class Heartbeat:
    """Writes into the log's database, at most once a second, where a mirror's projection is.

    `told` are the refusals that the mirror has logged: those of its other projections are not logged again.
    """

    def __init__(self, target: str, projection: Projection, told: set[str]) -> None:
        self._target, self._projection, self._told = target, projection, told
        self._beaten_at = -BEAT_SECONDS
        self._is_allowed = True

    @property
    def is_due(self) -> bool:
        return self._is_allowed and time.monotonic() - self._beaten_at >= BEAT_SECONDS

    def beat(self, connection: Connection, position: int, parked: int) -> None:
        """Record position and number of parked streams. Raises psycopg.OperationalError if the server is away."""
        self._record(connection, _BEAT, {"position": position, "parked": parked})

    def beat_of_rebuild(self, connection: Connection, position: int) -> None:
        """Record how far a rebuild is. Raises psycopg.OperationalError if the server is away."""
        self._record(connection, _BEAT_OF_REBUILD, {"position": position})

    def _record(self, connection: Connection, statement: bytes, values: dict[str, Any]) -> None:
        if not self._is_allowed:
            return
        self._beaten_at = time.monotonic()
        known = {
            "target": self._target,
            "projection": self._projection.name,
            "version": self._projection.version,
            "worker": WORKER,
        }
        try:
            connection.execute(statement, known | values)
        except (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.ReadOnlySqlTransaction,
            psycopg.errors.UndefinedTable,
            psycopg.errors.RaiseException,
            psycopg.IntegrityError,
        ) as refused:
            self._is_allowed = False
            if (said := in_one_line(refused)) not in self._told:
                self._told.add(said)
                log.warning(
                    "this mirror is not listed in `orders status`, because it may not say where it is: %s", said
                )


def end(connection: Connection, target: str, projections: Iterable[str], error: str | None = None) -> None:
    """Record that the mirrors of the projections end in order, or why those listed stand still, if the role may."""
    with contextlib.suppress(psycopg.Error):
        connection.execute(_END, {"target": target, "projections": list(projections), "error": error})


def forget(connection: Connection, targets: Collection[str], projections: Iterable[str]) -> list[tuple[str, str]]:
    """Delete where mirrors are, under any of the names. Returns the names and projections. Raises psycopg.Error."""
    return connection.execute(_FORGET, {"targets": list(targets), "projections": list(projections)}).fetchall()


def standings(connection: Connection, projections: Sequence[Projection]) -> list[Standing]:
    """Where each mirror is: those LISTED_MAX that were seen last. Raises psycopg.Error."""
    return of_rows(connection.execute(LISTED).fetchall(), projections)


def of_rows(rows: Iterable[Sequence[Any]], projections: Sequence[Projection]) -> list[Standing]:
    """The standings that `LISTED` selects, of projections that this release has."""
    found = []
    for target, ended_at, rebuilt_to, began_at, name, *rest in rows:
        projection = named(projections, name)
        if projection is None:
            continue
        standing = Standing(projection, *rest)._replace(mirror=target, ended_at=ended_at)
        if standing.building:
            standing = standing._replace(built=Building(rebuilt_to, began_at, standing.now))
        found.append(standing)
    return found
