"""Statements that read one stream as it was at one moment, and that find the position of a time. All of them only read.

Times are found by binary search: `recorded_at` never decreases with position, nor with version, and neither has holes.
So a search takes about twenty look-ups in a key for a million events, and needs no index on the time.

A user or an order is folded from all of its events. A product may have millions, so it is folded from a few: every
product event carries the values that it sets, so the last event of each sort decides. `product_details_idx` finds the
rare ones, and a walk backwards the last stock event. Events that the projection `%(projection)s` skips decide nothing.
"""

from functools import partial

from database.position_group import NEWEST_HEAD
from eventlog import pages, skips
from eventlog.tables import PRODUCT_DETAILS

# The most that a fold reads in one go: an event has up to 1.2 MB, and many folds may be under way.
EVENTS_A_PAGE = 100
FOLD_BYTES_MAX = 512 * 1024

# The columns of an event, in the order of timeline.folding.PastEvent. `event` has the columns of log.events.
_EVENT = f"""event.position, event.version, event.type, event.schema_version,
    {pages.TIME.format("event.occurred_at")}, {pages.TIME.format("event.recorded_at")}, event.data, event.metadata,
    {skips.IS_SKIPPED.format("event")}"""

# Which version a stream had: the given one, the last one, or the last by a time or a position.
_GIVEN = "at AS (SELECT %(version)s::integer AS version)"
_NOW = "at AS (SELECT version FROM last)"
_SEARCH = """search (low, high) AS (
    SELECT 0::bigint, {number} FROM {last}
    UNION ALL
    SELECT CASE WHEN event.{column} <= {limit} THEN event.{number} ELSE low END,
        CASE WHEN event.{column} <= {limit} THEN high ELSE event.{number} - 1 END
    FROM search, LATERAL (
        SELECT {number}, {column} FROM log.events WHERE {within} {number} = low + (high - low + 1) / 2 LIMIT 1
    ) AS event
    WHERE low < high
), at AS (SELECT low AS {number} FROM search WHERE low = high)"""
_IN_STREAM = partial(_SEARCH.format, number="version", last="last", within="stream = %(stream)s AND")
_AS_OF = _IN_STREAM(column="recorded_at", limit="%(as_of)s")
_AT_POSITION = _IN_STREAM(column="position", limit="%(position)s")

# The first events of the stream.
_FIRST = pages.bounded(
    f"stream = %(stream)s AND version <= least(at.version, {EVENTS_A_PAGE})", "version", FOLD_BYTES_MAX
)

_IS_SKIPPED = skips.IS_SKIPPED.format("events")
_LAST_DETAIL = """(
        SELECT version FROM log.events
        WHERE stream = %(stream)s AND type = '{}' AND version <= at.version AND NOT {} ORDER BY version DESC LIMIT 1)"""
_LAST_STOCK = f"""(
        SELECT version FROM log.events
        WHERE stream = %(stream)s AND version <= at.version AND version > 1
            AND type NOT IN ({", ".join(f"'{name}'" for name in PRODUCT_DETAILS)}) AND NOT {_IS_SKIPPED}
        ORDER BY version DESC LIMIT 1)"""  # noqa: S608 - constants

# The events of a product that decide what it was. Each is looked up by itself: with old statistics, which know of few
# events a stream, PostgreSQL read all of a stream's events and compared each with every one of these versions.
_DECISIVE = f"""SELECT found.* FROM (
        SELECT DISTINCT unnest(ARRAY[1, at.version,
        {", ".join(_LAST_DETAIL.format(it, _IS_SKIPPED) for it in PRODUCT_DETAILS)},
        {_LAST_STOCK}]) AS version
    ) AS wanted, LATERAL (
        SELECT * FROM log.events WHERE stream = %(stream)s AND version = wanted.version LIMIT 1
    ) AS found
    WHERE found.version <= at.version"""  # noqa: S608 - constants


def _moment(at: str, settled: str, future: str, events: str) -> bytes:
    return f"""
WITH RECURSIVE last AS (SELECT coalesce(max(version), 0) AS version FROM log.events WHERE stream = %(stream)s), {at}
SELECT head.position, last.version, at.version, {settled}, {future}, {_EVENT}
FROM {NEWEST_HEAD} CROSS JOIN last CROSS JOIN at LEFT JOIN LATERAL (
    {events}
) AS event ON true
ORDER BY event.version
""".encode()  # noqa: S608 - put together from constants


def _moments(events: str) -> dict[str, bytes]:
    return {
        "version": _moment(_GIVEN, "true", "false", events),
        "as_of": _moment(_AS_OF, "head.recorded_at > %(as_of)s", "%(as_of)s > clock_timestamp()", events),
        "position": _moment(_AT_POSITION, "head.position >= %(position)s", "false", events),
        "now": _moment(_NOW, "false", "false", events),
    }


# Each answers at least one row: the head's position, the stream's last version (0: there is no such stream), the
# version asked for, whether that stays the answer for good, whether the time lies in the future; and an event, or
# nulls. Parameters: stream, projection, and version, as_of or position.
WHOLE = _moments(_FIRST)
WITHOUT_EVENTS = _moments("SELECT * FROM log.events WHERE false")
DECISIVE = _moments(_DECISIVE)

# The next events of a stream, oldest first. Parameters: stream, projection, after, up_to, limit, bytes_max.
_BEHIND = """stream = %(stream)s AND version > %(after)s::integer
    AND version <= least(%(up_to)s::bigint, %(after)s::bigint + %(limit)s::bigint)"""
NEXT = f"""
SELECT {_EVENT} FROM ({pages.bounded(_BEHIND, "version", "%(bytes_max)s::bigint")}) AS event ORDER BY version
""".encode()  # noqa: S608 - put together from constants

# The last position that was recorded by a time; 0: none. Parameter: as_of.
_OF_LOG = {"number": "position", "last": NEWEST_HEAD, "within": "", "column": "recorded_at", "limit": "%(as_of)s"}
POSITION = f"WITH RECURSIVE {_SEARCH.format(**_OF_LOG)} SELECT position FROM at".encode()  # noqa: S608 - constants
