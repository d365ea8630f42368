"""The log as a log: no position missing, no version missing, time never running backwards, nothing unreadable."""

from collections.abc import Iterator

from psycopg import Connection

from console.words import minute
from eventlog import pages, read
from eventlog.codec import Codec, UnreadableEvent
from service.doctor.finding import RESTORE, Check, Finding, damage, first_of

PAGE_EVENTS, PAGE_BYTES_MAX = 10_000, 8 * 1024**2

_SKIPS = "SELECT string_agg(projection, ', ' ORDER BY projection), min(skipped_at) FROM log.skips WHERE position = %s"

_ENDS = "SELECT coalesce(max(position), 0), count(*) FROM log.events"

_HOLES = """
SELECT previous + 1, position - 1 FROM (
    SELECT position, lag(position, 1, 0::bigint) OVER (ORDER BY position) AS previous
    FROM log.events
) AS event
WHERE position <> previous + 1 ORDER BY position
"""

_BACKWARDS = """
SELECT position, earlier, recorded_at FROM (
    SELECT position, recorded_at, lag(recorded_at) OVER (ORDER BY position) AS earlier
    FROM log.events
) AS event
WHERE recorded_at < earlier ORDER BY position
"""

_VERSIONS = """
SELECT stream, count(*), min(version) AS first, max(version) AS last FROM log.events
GROUP BY stream HAVING min(version) <> 1 OR max(version) <> count(*) ORDER BY stream
"""


def head(connection: Connection) -> int:
    """The position of the log's last event."""
    row = connection.execute(pages.HEAD).fetchone()
    return int(row[0]) if row else 0


def _positions(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(pages.HEAD).fetchone()
    if row is None:
        yield Finding("log.head has no row", RESTORE)
        return
    last, count = connection.execute(_ENDS).fetchone() or (0, 0)
    if row[0] != last:
        yield Finding(f"log.head is at position {row[0]}, but the last of {count} events has {last}", RESTORE)
    if count != last:
        for first_missing, last_missing in connection.execute(first_of(_HOLES)):
            yield Finding(f"there is no event at positions {first_missing} to {last_missing}", RESTORE)


def _readable(connection: Connection) -> Iterator[Finding]:
    decode = Codec().decode
    after, end = 0, head(connection)
    while after < end:
        up_to = min(after + PAGE_EVENTS, end)
        page = read.page(connection, after, up_to, bytes_max=PAGE_BYTES_MAX)
        for position, stream, _, type_name, schema_version, _, data in page:
            try:
                decode(type_name, schema_version, data)
            except UnreadableEvent as error:
                yield _unreadable(connection, position, f"event {position} of {stream} cannot be read: {error}")
        after = page[-1].position if page else up_to


def _unreadable(connection: Connection, position: int, what: str) -> Finding:
    skipped_by, skipped_at = connection.execute(_SKIPS, (position,)).fetchone() or (None, None)
    if skipped_by is None:
        return Finding(what, "deploy a release that reads it; or skip it: orders parked")
    return Finding(
        f"{what}; {skipped_by} skipped it on {minute(skipped_at)} UTC",
        "nothing, if its stream need take no commands; else deploy a release that reads it",
        accepted=True,
    )


CHECKS = (
    Check("positions", _positions, "readers follow the log by position, and would miss events"),
    damage(
        "time",
        _BACKWARDS,
        "event {position} was recorded at {recorded_at}, the one before it at {earlier}",
        "questions about a time search the log by recorded_at, and would find the wrong event",
    ),
    damage(
        "versions",
        _VERSIONS,
        "{stream} has {count} events with versions from {first} to {last}, not from 1 to {count}",
        "the state of the stream cannot be folded from its events",
    ),
    Check(
        "readable",
        _readable,
        "commands on its stream are refused, and the read tables hold the stream back until the event is skipped",
    ),
)
