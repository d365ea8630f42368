"""The log as callers see it: pages of events as JSON, built by PostgreSQL; and how far the log has come."""

from database.position_group import NEWEST_HEAD

# A page ends early once its data has this many bytes, but has at least one event. PostgreSQL must decompress an event
# to know its size as text, but not to know its stored size. So the inner query first ends the page by that.
PAGE_BYTES_MAX = 4 * 1024 * 1024

# A time as callers see it (RFC 3339).
TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_EVENT = f"""json_build_object(
    'position', position, 'stream', stream, 'version', version, 'type', type, 'schema_version', schema_version,
    'occurred_at', {TIME.format("occurred_at")},
    'recorded_at', {TIME.format("recorded_at")},
    'data', data)"""

_BEFORE = "OVER (ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)"
_SIZE_BEFORE = f"coalesce(sum(octet_length(data::text)) {_BEFORE} AS size_before"
_STORED_BEFORE = f"coalesce(sum(pg_catalog.pg_column_size(data)) {_BEFORE} AS stored_before"


def bounded(within: str, order: str, bytes_max: int | str, events: str = "log.events") -> str:
    """A select of those `events` that are `within`, in this order, until they have `bytes_max` bytes: see above."""
    return f"""SELECT * FROM (
        SELECT *, {_SIZE_BEFORE.format(order=order)}
        FROM (
            SELECT *, {_STORED_BEFORE.format(order=order)}
            FROM {events} WHERE {within}
        ) AS stored
        WHERE stored_before < {bytes_max}
    ) AS wanted
    WHERE size_before < {bytes_max}"""  # noqa: S608 - parts of our statements


_UP_TO = "%(after)s::bigint + %(limit)s::bigint"


def _page(order: str, stream: str, up_to: str, end: str) -> bytes:
    within = f"{stream}{order} > %(after)s::bigint AND {order} <= {up_to}"
    return f"""
SELECT head.position, coalesce(page.events, '[]'), coalesce(page.last, %(after)s::bigint), {end}
FROM {NEWEST_HEAD}, LATERAL (
    SELECT json_agg({_EVENT} ORDER BY {order}) AS events, max({order}) AS last
    FROM ({bounded(within, order, PAGE_BYTES_MAX)}) AS event
) AS page
""".encode()  # noqa: S608 - put together from constants


# Each answers one row: the head's position, the events as a JSON array, the last one's position (or version), and the
# last that there is. Parameters: after, limit; the stream's also: stream. A stream that does not exist has no last.
LOG_PAGE = _page("position", "", f"least({_UP_TO}, head.position)", "head.position")
STREAM_PAGE = _page(
    "version", "stream = %(stream)s AND ", _UP_TO, "(SELECT max(version) FROM log.events WHERE stream = %(stream)s)"
)

# The first events at `positions` as a JSON array, oldest first, and the last one's position.
AT_POSITIONS = f"""
SELECT coalesce(json_agg({_EVENT} ORDER BY position), '[]'), max(position)
FROM ({bounded("position = ANY(%(positions)s)", "position", PAGE_BYTES_MAX)}) AS event
""".encode()  # noqa: S608 - put together from constants

HEAD = f"SELECT position FROM {NEWEST_HEAD}".encode()  # noqa: S608 - a constant

# The user of an order's stream: its first event names him. For a stream that does not exist PostgreSQL reads the first
# event of the stream `instead`, which names no user: so its answer comes no sooner than that for another's order.
_FIRST = "SELECT data->>'user_id' FROM log.events WHERE stream = %({})s AND version = 1"
BUYER = f"({_FIRST.format('stream')}) UNION ALL ({_FIRST.format('instead')}) LIMIT 1".encode()

# Operators' acts, newest first: the UUIDv7 in a stream's name sorts by time. One row: the head's position, the acts,
# the id of the oldest, and whether there are older ones. Parameters: before, an id or "~" for the newest; limit.
ACTS_PAGE = f"""
SELECT head.position, coalesce(page.acts, '[]'), page.oldest,
    EXISTS (SELECT FROM log.events WHERE stream > 'operator-' AND stream < 'operator-' || page.oldest COLLATE "C")
FROM {NEWEST_HEAD}, LATERAL (
    SELECT json_agg(act ORDER BY id DESC) AS acts, min(id) AS oldest
    FROM (
        SELECT substr(stream, length('operator-') + 1) AS id, json_build_object(
            'id', substr(stream, length('operator-') + 1), 'position', position,
            'at', {TIME.format("recorded_at")},
            'actor', metadata->'actor', 'act', data->'act', 'target', data->'target', 'reason', data->'reason',
            'request_id', metadata->'request_id') AS act
        FROM log.events
        WHERE stream > 'operator-' AND stream < 'operator-' || %(before)s::text COLLATE "C"
        ORDER BY stream DESC LIMIT %(limit)s::bigint
    ) AS newest
) AS page
""".encode()  # noqa: S608 - put together from constants
