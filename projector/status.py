"""The status of projections: how far they are behind the log, which worker drives them, and what blocks them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection, sql

from database.position_group import NEWEST, NEWEST_HEAD
from database.sessions import only_row
from projector.projection import Projection
from projector.shadow import LOCK_CLASS, built_beside

# A worker looks at the log about every second, whether or not it was woken.
STOPPED_AFTER = timedelta(seconds=10)
SILENT_AFTER = timedelta(seconds=5)
LIVE_LAG_MS_MAX = 1_000

# The columns of a Standing, in one row. `building`: a replay holds its lock and has tables.
_STANDING = """
SELECT {name} AS name, checkpoint.version, checkpoint.position, head.position AS head,
    (SELECT recorded_at FROM log.events WHERE position = checkpoint.position + 1) AS waiting_since,
    checkpoint.updated_at, checkpoint.seen_at, checkpoint.worker, checkpoint.error,
    held.streams AS parked, checkpoint.events_per_second,
    clock_timestamp() AS now,
    to_regclass({beside}) IS NOT NULL AND EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = {lock_class}
            AND objid = hashtext({name})::bigint & 4294967295 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS building, held.since AS parked_since
FROM (SELECT * FROM {checkpoint} {newest}) AS checkpoint, {head},
    (SELECT count(*) AS streams, min(parked_at) AS since FROM {parked} WHERE NOT skipped) AS held
"""

_BUILT = "SELECT position, built_at, clock_timestamp() FROM {}"

LOG = f"SELECT log_uuid, position, recorded_at FROM {NEWEST_HEAD}".encode()  # noqa: S608 - a constant


# Said in place of a database's own text, which may name hosts, roles and values.
_MIRROR_FAILED = "it failed: its own output and `orders status` say why"
_FAILED = "its last batch failed in the database: the worker's log and `orders status` say why"


def _is_of_database(error: str) -> bool:
    """Whether an error that a worker recorded, as `Type: text`, is PostgreSQL's or libpq's own."""
    kind = getattr(psycopg.errors, error.partition(":")[0], None)
    return isinstance(kind, type) and issubclass(kind, psycopg.Error)


class Building(NamedTuple):
    """A rebuild that is under way: how far it is, when it began, and the database's time."""

    position: int
    began_at: datetime
    now: datetime

    def seconds_left(self, head: int) -> float | None:
        """How long the rest takes at the rate so far; None before the first batch."""
        if not self.position:
            return None
        return (self.now - self.began_at).total_seconds() / self.position * max(0, head - self.position)


class Standing(NamedTuple):
    """Where a projection is. All times are the database's: the clocks of several machines differ.

    `parked_since` is when the first of the parked streams was parked. `mirror` is the URL of the other database that
    keeps it, without the password; `ended_at` is when that mirror ended in order.
    """

    projection: Projection
    version: int
    position: int
    head: int
    waiting_since: datetime | None
    updated_at: datetime
    seen_at: datetime
    worker: str | None
    error: str | None
    parked: int
    events_per_second: int | None
    now: datetime
    building: bool
    parked_since: datetime | None = None
    built: Building | None = None
    mirror: str | None = None
    ended_at: datetime | None = None

    @property
    def name(self) -> str:
        return self.projection.name

    @property
    def lag_events(self) -> int:
        return max(0, self.head - self.position)

    @property
    def lag(self) -> timedelta:
        """How long the first event that is not projected has been waiting."""
        if self.waiting_since is None:
            return timedelta(0)
        # A clock that leapt ahead once may have dated the event into the future. Then the wait is counted from the last
        # move of the projection: the event was appended after that, or shortly before.
        since = self.waiting_since if self.waiting_since <= self.now else self.updated_at
        return max(timedelta(0), self.now - since)

    @property
    def lag_ms(self) -> int:
        return round(self.lag / timedelta(milliseconds=1))

    @property
    def progress(self) -> float | None:
        """How much of a rebuild is done, from 0 to 1; None when there is none."""
        if self.built is None:
            return None
        return min(1.0, self.built.position / self.head) if self.head else 1.0

    @property
    def expected_seconds(self) -> float | None:
        """How long a rebuild takes at the rate of the last one; None if no rebuild was long enough to tell."""
        return self.head / self.events_per_second if self.events_per_second else None

    @property
    def state(self) -> str:
        """`live`, `catching_up`, `rebuilding`, `outdated` (other version), `stopped`; `ended`: a mirror, in order."""
        if self.ended_at is not None:
            return "ended"
        if self.mirror is not None and self.error:
            return "stopped"
        if self.building:
            return "rebuilding"
        if self.version != self.projection.version:
            return "outdated"
        # The clock may have been set back since: a worker that looks leaves the new time within a second.
        if abs(self.now - self.seen_at) > STOPPED_AFTER:
            return "stopped"
        return "live" if self.lag_ms <= LIVE_LAG_MS_MAX else "catching_up"

    @property
    def failed(self) -> bool:
        """Whether the last batch or rebuild failed: to meet tables of another release is no failure."""
        return bool(self.error and not self.error.startswith("OtherVersion"))

    @property
    def outdated(self) -> str | None:
        """Why reads are refused because another version built the tables, and what becomes of it; else None."""
        ours = self.projection.version
        if self.version == ours:
            return None
        if self.version > ours:
            return f"its tables are of version {self.version}, this release has {ours}: run the newer release"
        begun = f"its tables are of version {self.version}, this release needs {ours}"
        if self.built is not None and self.progress is not None:
            left = self.built.seconds_left(self.head)
            eta = "" if left is None else f", {left:.0f} s left"
            return f"{begun}: rebuilding, {self.progress:.0%}{eta}"
        if self.failed:
            return f"{begun}: it cannot be rebuilt: {self.error}"
        expected = "" if self.expected_seconds is None else f" (about {max(1, self.expected_seconds):.0f} s)"
        return (
            f"{begun}: `orders replay {self.name}` rebuilds them{expected}, and so does a worker of this release, "
            "unless REBUILD=manual"
        )

    @property
    def silence(self) -> str | None:
        """That no worker looks at the log; None when one did just now."""
        silence = self.now - self.seen_at
        if abs(silence) <= SILENT_AFTER:
            return None
        looking = "no worker" if self.mirror is None else "no mirror"
        last = f"the last was {self.worker or 'none'}"
        if silence < timedelta(0):
            return f"{looking} has looked at the log since the clock was set back; {last}"
        if self.worker is None:
            return f"{looking} has looked at the log yet"
        return f"{looking} has looked at the log for {silence.total_seconds():.0f} s; {last}"

    @property
    def trouble(self) -> str | None:
        """Why the projection does not follow the log; None when it does."""
        if self.ended_at is not None:
            return None
        if self.mirror is not None and self.error:
            return self.error
        behind = f"{self.lag_events} events behind the log's head" if self.lag > SILENT_AFTER else None
        return self.outdated or self.silence or self.error or behind

    @property
    def public_trouble(self) -> str | None:
        """The trouble, with a plain sentence in place of a database's own text."""
        if self.mirror is not None and self.error:
            return self._replace(error=_MIRROR_FAILED).trouble
        return self._replace(error=_FAILED).trouble if _is_of_database(self.error or "") else self.trouble


class Status(NamedTuple):
    """The log and its projections. `recorded_at` is when the head was appended."""

    log_uuid: UUID
    head: int
    recorded_at: datetime
    projections: list[Standing]


def standing_statement(projection: Projection) -> bytes:
    """The select for a Standing without `projection` and `built`."""
    name = projection.name
    return (
        sql.SQL(_STANDING)
        .format(
            name=sql.Literal(name),
            checkpoint=sql.Identifier(name, "checkpoint"),
            newest=sql.SQL(NEWEST),
            head=sql.SQL(NEWEST_HEAD),
            parked=sql.Identifier(name, "parked"),
            beside=sql.Literal(f"{built_beside(projection)}.checkpoint"),
            lock_class=sql.Literal(LOCK_CLASS),
        )
        .as_bytes()
    )


def built_statement(projection: Projection) -> bytes:
    """The select for a Building. It fails when there is no rebuild."""
    return sql.SQL(_BUILT).format(sql.Identifier(built_beside(projection), "checkpoint")).as_bytes()


def status(connection: Connection, projections: Sequence[Projection]) -> Status:
    """How things stand. Raises psycopg.Error."""
    standings = []
    for projection in projections:
        row = only_row(connection.execute(standing_statement(projection)).fetchone())
        standing = Standing(projection, *row[1:])
        if standing.building:
            standing = standing._replace(built=_built(connection, projection))
        standings.append(standing)
    log_uuid, head, recorded_at = only_row(connection.execute(LOG).fetchone())
    return Status(log_uuid, head, recorded_at, standings)


def _built(connection: Connection, projection: Projection) -> Building | None:
    try:
        with connection.transaction():
            row = connection.execute(built_statement(projection)).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None  # it was over just now
    return Building(*row) if row else None
