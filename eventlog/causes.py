"""Which requests caused events: their ids and traces, from the metadata of the events."""

from typing import NamedTuple

from psycopg import Connection

_CAUSES = b"""
SELECT position, extract(epoch FROM recorded_at)::float8, metadata->>'request_id'::text, metadata->>'traceparent'::text
FROM log.events WHERE position > %s AND position <= %s AND (NOT %s OR metadata::text LIKE '%%"traceparent"%%')
ORDER BY position LIMIT %s
"""


class Cause(NamedTuple):
    """The request behind an event. `recorded_at` is Unix time; imported events have no request."""

    position: int
    recorded_at: float
    request_id: str | None
    traceparent: str | None


def of(connection: Connection, after: int, up_to: int, limit: int, *, traced: bool = False) -> list[Cause]:
    """The causes of the first `limit` events at positions after < position <= up_to; only of those with a trace."""
    rows = connection.execute(_CAUSES, (after, up_to, traced, limit)).fetchall()
    return [Cause(*row) for row in rows]
