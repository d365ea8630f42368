"""The log as a log: no position missing, no version missing, time never running backwards, nothing unreadable."""

from collections.abc import Iterator

from psycopg import Connection, sql

from eventlog import read
from eventlog.codec import Codec, UnreadableEvent
from service.doctor.finding import RESTORE, Check, Finding
from service.projections import PROJECTIONS

PAGE_EVENTS, PAGE_BYTES_MAX = 10_000, 8 * 1024**2

_HEAD = "SELECT position FROM log.head"

_ENDS = "SELECT coalesce(max(position), 0), count(*) FROM log.events"

_HOLES = """
SELECT previous + 1, position - 1 FROM (
    SELECT position, lag(position, 1, 0::bigint) OVER (ORDER BY position) AS previous
    FROM log.events
) AS event
WHERE position <> previous + 1 ORDER BY position
"""

_BACKWARDS = """
SELECT position, earlier::text, recorded_at::text FROM (
    SELECT position, recorded_at, lag(recorded_at) OVER (ORDER BY position) AS earlier
    FROM log.events
) AS event
WHERE recorded_at < earlier ORDER BY position
"""

_VERSIONS = """
SELECT stream, count(*), min(version), max(version) FROM log.events
GROUP BY stream HAVING min(version) <> 1 OR max(version) <> count(*) ORDER BY stream
"""

_PROJECTED = "SELECT position FROM {}"


def head(connection: Connection) -> int:
    """The position of the log's last event."""
    row = connection.execute(_HEAD).fetchone()
    return int(row[0]) if row else 0


def projected(connection: Connection) -> list[tuple[str, int]]:
    """How far each projection has come.

    Read on its own, before the snapshot: its lock would keep a replay from swapping the tables, and a position that was
    read before the head can only be behind it.
    """
    found = []
    for projection in PROJECTIONS:
        checkpoint = sql.Identifier(projection.name, "checkpoint")
        row = connection.execute(sql.SQL(_PROJECTED).format(checkpoint)).fetchone()
        assert row is not None, "`orders migrate` made the checkpoint"
        found.append((projection.name, row[0]))
    return found


def checkpoint_check(before: list[tuple[str, int]]) -> Check:
    """That no projection is ahead of the log, as after a restore of an older log."""

    def run(connection: Connection) -> Iterator[Finding]:
        end = head(connection)
        for name, position in before:
            if position > end:
                yield Finding(
                    f"{name} has projected up to position {position}, but the log ends at {end}",
                    "the log was restored to an earlier state, or events were deleted: after making sure of the log, "
                    "rebuild with `orders replay`",
                )

    return Check("checkpoint", run, "the read tables show events that the log does not have")


def _positions(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(_HEAD).fetchone()
    if row is None:
        yield Finding("log.head has no row", RESTORE)
        return
    last, count = connection.execute(_ENDS).fetchone() or (0, 0)
    if row[0] != last:
        yield Finding(f"log.head is at position {row[0]}, but the last of {count} events has {last}", RESTORE)
    if count != last:
        for first_missing, last_missing in connection.execute(_HOLES):
            yield Finding(f"there is no event at positions {first_missing} to {last_missing}", RESTORE)


def _time(connection: Connection) -> Iterator[Finding]:
    for position, earlier, recorded_at in connection.execute(_BACKWARDS):
        yield Finding(f"event {position} was recorded at {recorded_at}, the one before it at {earlier}", RESTORE)


def _versions(connection: Connection) -> Iterator[Finding]:
    for stream, count, first, last in connection.execute(_VERSIONS):
        yield Finding(
            f"{stream} has {count} events with versions from {first} to {last}, not from 1 to {count}", RESTORE
        )


def _readable(connection: Connection) -> Iterator[Finding]:
    decode = Codec().decode
    end = head(connection)
    after = 0
    for up_to in _page_ends(connection, end):
        for position, stream, _, type_name, schema_version, _, data in read.page(connection, after, up_to):
            try:
                decode(type_name, schema_version, data)
            except UnreadableEvent as error:
                yield Finding(f"event {position} of {stream} cannot be read: {error}", "deploy a release that reads it")
        after = up_to


def _page_ends(connection: Connection, end: int) -> Iterator[int]:
    for after in range(0, end, PAGE_EVENTS):
        yield from read.page_ends(connection, after, min(after + PAGE_EVENTS, end), PAGE_BYTES_MAX)


CHECKS = (
    Check("positions", _positions, "readers follow the log by position, and would miss events"),
    Check("time", _time, "questions about a time search the log by recorded_at, and would find the wrong event"),
    Check("versions", _versions, "the state of the stream cannot be folded from its events"),
    Check("readable", _readable, "the write side, a replay and verify stop at this event"),
)
