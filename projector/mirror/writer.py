"""The loop's writer for a mirror: rows, parked streams and checkpoint in one transaction of the mirror's database.

The checkpoint names the log (`log_uuid`) and the event at its position. So a mirror notices when it follows another log
than before: after a restore, or after a failover that lost events.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from database.position_group import NEWEST_HEAD
from database.sessions import only_row
from eventlog import skips
from projector.checkpoint import Fenced, OtherVersion, Seen
from projector.mirror.layout import Build, Layout
from projector.mirror.target import Target
from projector.narrowing import RowsRefused
from projector.parking import Parked, Parking
from projector.projection import Projection
from projector.rows import NewRows, Rows

# Which event is at a position: two that take the same position differ at least in when they were appended.
_EVENT = (
    "SELECT stream || ' ' || version::text || ' ' || recorded_at::text FROM log.events WHERE position = %(position)s"
)
_LOG = (
    f"SELECT head.log_uuid::text, head.position, ({_EVENT}), {skips.LAST_POSITION} "  # noqa: S608 - parts of ours
    f"FROM {NEWEST_HEAD}"
)
_LOG_UUID = f"SELECT log_uuid::text FROM {NEWEST_HEAD}"  # noqa: S608 - a constant


class OtherLog(Exception):
    """The mirror is not the fold of this log; the message says why and what mends it."""


class MirrorWriter:
    """Writes a build of one projection's tables. `connection` is the one that writes."""

    def __init__(
        self, target: Target, connection: Connection, projection: Projection, build: Build = Build.SERVING
    ) -> None:
        self._target, self._connection, self._projection = target, connection, projection
        self._layout = target.layout(projection, build)

    def look(self, log: psycopg.Connection) -> Seen:
        its = self._layout.checkpoint.c
        columns = (its.version, its.log_uuid, its.position, its.event, its.parked, its.parked_changes)
        with self._target.engine.connect() as reading:
            version, log_uuid, position, event, parked, changes = reading.execute(select(*columns)).one()
        name = self._projection.name
        if version != self._projection.version:
            raise OtherVersion(name, version, self._projection.version)
        row = only_row(log.execute(_LOG, {"position": position, "projection": name}).fetchone())
        found_uuid, head, found_event, last_skip = row
        if found_uuid != log_uuid:
            raise OtherLog(f"{name} mirrors the log {log_uuid}, and this is the log {found_uuid}: run with --rebuild")
        if position > head:
            raise OtherLog(f"{name} is at position {position}, the log ends at {head}: run with --rebuild")
        if position and event != found_event:
            raise OtherLog(f"the log has another event at position {position} than {name} has seen: run with --rebuild")
        return Seen(position, head, version, parked, changes, last_skip)

    @contextmanager
    def transaction(self, _: psycopg.Connection) -> Iterator[None]:
        with self._connection.begin():
            yield

    def lock(self, log: psycopg.Connection, seen: Seen) -> bool:
        return self.hold(log) == (seen.position, seen.parked_changes)

    def hold(self, _: psycopg.Connection) -> tuple[int, int]:
        checkpoint = self._layout.checkpoint.c
        row = self._connection.execute(select(checkpoint.position, checkpoint.parked_changes).with_for_update()).one()
        return row[0], row[1]

    def kept(self, _: psycopg.Connection) -> Iterable[tuple[str, int, bool]]:
        parked = self._layout.parked.c
        rows = self._connection.execute(select(parked.stream, parked.version, parked.skipped))
        return ((stream, version, bool(skipped)) for stream, version, skipped in rows)

    def parked(self, _: psycopg.Connection, streams: Sequence[str]) -> dict[str, Parked]:
        columns = [self._layout.parked.c[name] for name in Parked._fields]
        rows = self._connection.execute(select(*columns).where(self._layout.parked.c.stream.in_(streams)))
        return {row.stream: Parked(*row)._replace(skipped=bool(row.skipped)) for row in rows}

    def waiting(self, _: psycopg.Connection, after: int, limit: int) -> dict[str, int]:
        parked = self._layout.parked.c
        waiting = select(parked.stream, parked.position).where(~parked.skipped, parked.position > after)
        with self._target.engine.connect() as reading:
            return {it.stream: it.position for it in reading.execute(waiting.order_by(parked.position).limit(limit))}

    def write_new(self, _: psycopg.Connection, new: Sequence[NewRows]) -> None:
        with self._refusing():
            for rows in new:
                if rows.rows:
                    self._target.insert(self._connection, self._layout.tables[rows.table], rows)

    def write(self, log: psycopg.Connection, rows: Rows) -> None:
        self.write_new(log, rows.take_new())
        with self._refusing():
            for mapped, table in zip(self._projection.tables, self._layout.tables.values(), strict=True):
                changes = rows.of(mapped)
                self._target.change(self._connection, table, changes)
                changes.clear()

    def write_parked(self, _: psycopg.Connection, parking: Parking) -> None:
        table = self._layout.parked
        if gone := [*parking.released, *parking.new]:
            self._connection.execute(delete(table).where(table.c.stream.in_(gone)))
        if parking.new:
            now = datetime.now(UTC)
            self._connection.execute(insert(table), [it._asdict() | {"parked_at": now} for it in parking.new.values()])

    def move(self, log: psycopg.Connection, seen: Seen, position: int, parked: int, has_changed: bool) -> None:
        row = log.execute(_EVENT, {"position": position}).fetchone()
        assert row is not None, "the log has no holes"
        changes, table = seen.parked_changes + has_changed, self._layout.checkpoint
        values = {"position": position, "event": row[0], "parked": parked, "parked_changes": changes}
        statement = update(table).where(table.c.position == seen.position)
        moved = self._connection.execute(statement.values(**values, updated_at=datetime.now(UTC)))
        if moved.rowcount != 1:
            raise Fenced(f"the checkpoint is no longer at {seen.position}")

    def record_parked(self, _: psycopg.Connection, parked: int, has_changed: bool) -> None:
        table = self._layout.checkpoint
        changes = table.c.parked_changes + int(has_changed)
        self._connection.execute(update(table).values(parked=parked, parked_changes=changes))

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Raise RowsRefused for rows that the tables do not take."""
        try:
            yield
        except OverflowError as error:
            raise RowsRefused("a number is too large for this database") from error
        except DBAPIError as error:
            if not self._target.refuses(error):
                raise
            raise RowsRefused(self._target.reason(error)) from error


def start(connection: Connection, layout: Layout, projection: Projection, log: psycopg.Connection, number: int) -> None:
    """Write the checkpoint of empty tables: position 0 of this log."""
    row = only_row(log.execute(_LOG_UUID).fetchone())
    now = datetime.now(UTC)
    connection.execute(
        insert(layout.checkpoint).values(
            one_row=1,
            version=projection.version,
            generation=number,
            log_uuid=row[0],
            position=0,
            event="",
            parked=0,
            parked_changes=0,
            built_at=now,
            updated_at=now,
        )
    )
