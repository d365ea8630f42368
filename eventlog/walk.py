"""Walking along the log, or along one stream, event by event, to print or copy it."""

from collections.abc import Iterator, Sequence

import msgspec
from psycopg import Connection
from psycopg.types.string import TextLoader

from database.sessions import only_row
from eventlog import pages

PAGE_EVENTS = 500
ACTOR_POSITIONS = 10_000

_OF_ACTOR = b"""
SELECT position FROM log.events WHERE position > %(after)s AND position <= %(last)s
    AND metadata->'actor'->>'id' = %(actor)s AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s))
"""

_events = msgspec.json.Decoder(list[msgspec.Raw]).decode


def walk(connection: Connection, stream: str | None, after: int, limit: int | None = None) -> Iterator[msgspec.Raw]:
    """At most `limit` events behind `after` (a position; in a stream a version), oldest first, each as JSON."""
    # JSON as it is: no code here reads it.
    connection.adapters.register_loader("json", TextLoader)
    statement = pages.LOG_PAGE if stream is None else pages.STREAM_PAGE
    left = limit
    while left is None or left > 0:
        number = PAGE_EVENTS if left is None else min(left, PAGE_EVENTS)
        parameters = {"after": after, "limit": number} | ({} if stream is None else {"stream": stream})
        _, events, last, end = only_row(connection.execute(statement, parameters).fetchone())
        page = _events(events)
        yield from page
        if end is None or last >= end:
            return
        after = last
        left = None if left is None else left - len(page)


def of_actor(connection: Connection, actor: str, types: Sequence[str], after: int) -> Iterator[msgspec.Raw]:
    """The events of `types` (empty: all) that an actor caused, oldest first, as JSON. Reads the log behind `after`."""
    last = end(connection, None)
    while after < last:
        wanted = {"after": after, "last": after + ACTOR_POSITIONS, "actor": actor, "types": list(types) or None}
        yield from at_positions(connection, [it for (it,) in connection.execute(_OF_ACTOR, wanted).fetchall()])
        after += ACTOR_POSITIONS


def at_positions(connection: Connection, positions: Sequence[int]) -> Iterator[msgspec.Raw]:
    """The events at these positions, oldest first, as JSON; read in pages, because large ones have a megabyte each."""
    connection.adapters.register_loader("json", TextLoader)
    left = list(positions)
    while left:
        ((events, last),) = connection.execute(pages.AT_POSITIONS, {"positions": left}).fetchall()
        yield from _events(events)
        left = [] if last is None else [it for it in left if it > last]


def exists(connection: Connection, stream: str) -> bool:
    found = connection.execute("SELECT FROM log.events WHERE stream = %s AND version = 1", (stream,))
    return found.rowcount > 0


def end(connection: Connection, stream: str | None) -> int:
    """The last position of the log, or the last version of a stream that exists."""
    if stream is None:
        row = connection.execute(pages.HEAD).fetchone()
    else:
        row = connection.execute("SELECT max(version) FROM log.events WHERE stream = %s", (stream,)).fetchone()
    last: int = only_row(row)[0]
    return last


def version_at(connection: Connection, stream: str, position: int) -> int:
    """The version that the stream had at a position of the log; 0: none."""
    query = "SELECT coalesce(max(version), 0) FROM log.events WHERE stream = %s AND position <= %s"
    ((version,),) = connection.execute(query, (stream, position)).fetchall()
    return int(version)
