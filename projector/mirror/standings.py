"""Where the mirrors are: each mirror writes its positions into the log's database, if its role may.

The log itself is only read. Without the right to write `mirrors.standings` a mirror works all the same, unlisted.
"""

import contextlib
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import Connection

from projector.checkpoint import WORKER
from projector.projection import Projection, named
from projector.status import Standing

BEAT_SECONDS = 1.0

_BEAT = b"""
INSERT INTO mirrors.standings AS old (target, projection, version, position, parked, worker, updated_at, seen_at)
VALUES (%(target)s, %(projection)s, %(version)s, %(position)s, %(parked)s, %(worker)s, clock_timestamp(),
    clock_timestamp())
ON CONFLICT (target, projection) DO UPDATE SET version = excluded.version, position = excluded.position,
    parked = excluded.parked, error = NULL, worker = excluded.worker, seen_at = excluded.seen_at,
    updated_at = CASE WHEN old.position = excluded.position THEN old.updated_at ELSE excluded.updated_at END
"""

_FAIL = b"UPDATE mirrors.standings SET error = %s WHERE target = %s AND projection = %s"

# The columns of a Standing, after the mirror's name.
LISTED = b"""
SELECT mirror.target, mirror.projection, mirror.version, mirror.position, head.position,
    (SELECT recorded_at FROM log.events AS event WHERE event.position = mirror.position + 1),
    mirror.updated_at, mirror.seen_at, mirror.worker, mirror.error, mirror.parked, NULL::integer, clock_timestamp(),
    false
FROM mirrors.standings AS mirror, log.head AS head ORDER BY 1, 2
"""

log = logging.getLogger(__name__)


class Heartbeat:
    """Writes into the log's database, at most once a second, where a mirror's projection is."""

    def __init__(self, target: str, projection: Projection) -> None:
        self._target, self._projection = target, projection
        self._beaten_at = -BEAT_SECONDS
        self._is_allowed = True

    @property
    def is_due(self) -> bool:
        """Whether `beat` should be called now."""
        return self._is_allowed and time.monotonic() - self._beaten_at >= BEAT_SECONDS

    def fail(self, connection: Connection, error: str) -> None:
        """Record why the mirror stops."""
        with contextlib.suppress(psycopg.Error):
            connection.execute(_FAIL, (error, self._target, self._projection.name))

    def beat(self, connection: Connection, position: int, parked: int) -> None:
        """Record position and number of parked streams. Raises psycopg.OperationalError if the server is away."""
        self._beaten_at = time.monotonic()
        values = {
            "target": self._target,
            "projection": self._projection.name,
            "version": self._projection.version,
            "position": position,
            "parked": parked,
            "worker": WORKER,
        }
        try:
            connection.execute(_BEAT, values)
        except (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.ReadOnlySqlTransaction,
            psycopg.errors.UndefinedTable,
        ) as refused:
            self._is_allowed = False
            said = refused.diag.message_primary
            log.warning("this mirror is not listed in `orders status`, because it may not say where it is: %s", said)


def standings(connection: Connection, projections: Sequence[Projection]) -> list[Standing]:
    """Where each mirror is. Raises psycopg.Error."""
    return of_rows(connection.execute(LISTED).fetchall(), projections)


def of_rows(rows: Iterable[Sequence[Any]], projections: Sequence[Projection]) -> list[Standing]:
    """The standings that `LISTED` selects, of projections that this release has."""
    found = []
    for target, name, *rest in rows:
        projection = named(projections, name)
        if projection is not None:
            found.append(Standing(projection, *rest)._replace(mirror=target))
    return found
