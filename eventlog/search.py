"""Statements that find events by position, stream, type and decision. They read ranges that the caller limits."""

# Larger data is not sent with a list.
DATA_BYTES_MAX = 64 * 1024

_COLUMNS = f"""position, stream, version, type, schema_version, occurred_at, recorded_at, octet_length(data::text),
    CASE WHEN octet_length(data::text) <= {DATA_BYTES_MAX} THEN data::text END, metadata::text"""

IN_RANGE = f"""
SELECT {_COLUMNS} FROM log.events
WHERE position BETWEEN %(first)s AND %(last)s AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))
ORDER BY position {{order}} LIMIT %(limit)s
"""  # noqa: S608 - put together from constants

OF_STREAM = f"""
SELECT * FROM (
    SELECT {_COLUMNS} FROM log.events
    WHERE stream = %(stream)s AND version BETWEEN %(first)s AND %(last)s ORDER BY version {{order}} LIMIT %(budget)s
) AS walked
WHERE (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))
    AND position BETWEEN %(from_position)s AND %(to_position)s
ORDER BY version {{order}} LIMIT %(limit)s
"""  # noqa: S608 - put together from constants

MINUTE_OF = b"SELECT date_trunc('minute', recorded_at, 'UTC') FROM log.events WHERE position = %s"

ONE = b"""
SELECT position, stream, version, type, schema_version, occurred_at, recorded_at, octet_length(data::text), data::text,
    metadata::text
FROM log.events WHERE position = %s
"""

# A decision has one event of an order and one for each of its products.
DECISION_EVENTS_MAX = 1_001
DECISION = b"""
SELECT position, stream, version, type, schema_version, occurred_at, recorded_at, 0, NULL, '{}'
FROM log.events
WHERE position BETWEEN %(position)s - %(reach)s AND %(position)s + %(reach)s
    AND metadata->>'command_id' = (SELECT metadata->>'command_id' FROM log.events WHERE position = %(position)s)
ORDER BY position
"""
