"""What the projection `activity` tells: the events of each minute and type, and where they are."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from psycopg import Connection

_BUCKETS = b"""
SELECT date_bin(%(step)s::interval, minute, %(since)s), type, sum(events)::bigint
FROM activity.events_per_minute
WHERE minute >= %(since)s AND minute < %(until)s AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))
GROUP BY 1, 2
"""


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
    """The minute in which a time is, in UTC."""
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def buckets(
    connection: Connection, since: datetime, until: datetime, step: timedelta, types: Sequence[str] | None = None
) -> list[Bucket]:
    """How many events each step of time has, oldest first, steps without events too. `since` is a whole minute."""
    wanted = {"since": since, "until": until, "step": step, "types": list(types) if types else None}
    events: dict[datetime, int] = {}
    for at, _, number in connection.execute(_BUCKETS, wanted).fetchall():
        events[at] = events.get(at, 0) + number
    found = []
    at = since
    while at < until:
        found.append(Bucket(at, events.get(at, 0)))
        at += step
    return found


def by_type(connection: Connection, since: datetime, until: datetime) -> dict[str, int]:
    """How many events of each type were appended between two times."""
    rows = connection.execute(_BUCKETS, {"since": since, "until": until, "step": until - since, "types": None})
    return {type_name: number for _, type_name, number in rows.fetchall()}
