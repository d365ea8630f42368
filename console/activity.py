"""The console's view of the projection `activity`: the events of each minute and type, and where they are."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from psycopg import Connection

from database.position_group import NEWEST, NEWEST_HEAD

_BUCKETS = b"""
SELECT date_bin(%(step)s::interval, minute, %(since)s), type, sum(events)::bigint
FROM activity.events_per_minute
WHERE minute >= %(since)s AND minute < %(until)s AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))
GROUP BY 1, 2
"""

# The minutes that have events of the types, in order, from a minute on. One look-up in the index for each type.
MINUTES = """
SELECT found.minute, sum(found.events), min(found.first_position), max(found.last_position)
FROM unnest(%(types)s::text[]) AS wanted (type) CROSS JOIN LATERAL (
    SELECT * FROM activity.events_per_minute AS counted
    WHERE counted.type = wanted.type AND minute BETWEEN %(from)s AND %(to)s ORDER BY minute {order} LIMIT %(limit)s
) AS found
GROUP BY found.minute ORDER BY found.minute {order} LIMIT %(limit)s
"""

ENDS = f"""
SELECT head.position, checkpoint.position
FROM {NEWEST_HEAD}, (SELECT * FROM activity.checkpoint {NEWEST}) AS checkpoint
""".encode()  # noqa: S608 - put together from constants


class Bucket(NamedTuple):
    """So many events from `at` on, for one step of time."""

    at: datetime
    events: int


class Range(NamedTuple):
    """A stretch of time that a chart shows: its name, its length, and the length of a step."""

    name: str
    length: timedelta
    step: timedelta


RANGES = (
    Range("1 h", timedelta(hours=1), timedelta(minutes=1)),
    Range("24 h", timedelta(hours=24), timedelta(minutes=20)),
    Range("7 d", timedelta(days=7), timedelta(hours=2)),
)


def whole_minute(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def buckets(
    connection: Connection, since: datetime, until: datetime, step: timedelta, types: Sequence[str]
) -> list[Bucket]:
    """How many events each step of time has, oldest first, steps without events too. `since` is a whole minute."""
    wanted = {"since": since, "until": until, "step": step, "types": list(types)}
    events = Counter[datetime]()
    for at, _, number in connection.execute(_BUCKETS, wanted).fetchall():
        events[at] += number
    steps = (since + number * step for number in range((until - since) // step))
    return [Bucket(at, events[at]) for at in steps]


def by_type(connection: Connection, since: datetime, until: datetime) -> dict[str, int]:
    rows = connection.execute(_BUCKETS, {"since": since, "until": until, "step": until - since, "types": None})
    return {type_name: number for _, type_name, number in rows.fetchall()}


def has(connection: Connection, type_name: str) -> bool:
    return (
        connection.execute(b"SELECT FROM activity.events_per_minute WHERE type = %s LIMIT 1", (type_name,)).rowcount > 0
    )
