"""Streams with events that cannot be projected, and how a test parks and mends them."""

from typing import Any

from psycopg import Connection

import projector.parked
from eventlog.batch import NewEvent
from eventlog.codec import encode
from eventlog.events import UserRegistered
from projector.loop import Loop
from projector.parked import Drained, held_back
from projector.projection import Projection
from projector.projections.shop import SHOP

ALL = 10_000


def project(connection: Connection, limit: int = ALL, projection: Projection = SHOP) -> None:
    projecting = Loop(projection)
    while projecting.project(connection, limit).events:
        pass


def parked(connection: Connection) -> dict[str, tuple[int, str]]:
    """Of each parked stream, the first version that is missing, and why."""
    return {it.parked.stream: (it.parked.version, it.parked.error) for it in held_back(connection, SHOP)}


def retry(connection: Connection, loop: Loop, stream: str | None = None, **options: Any) -> list[Drained]:
    return list(projector.parked.retry(connection, loop, stream, **options))


def mend(connection: Connection, stream: str, version: int, event: object) -> None:
    """Do to the log what only a superuser can, and what a new release does by reading it otherwise."""
    connection.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
    connection.execute(
        "UPDATE log.events SET data = %s, type = %s, schema_version = 1 WHERE stream = %s AND version = %s",
        (encode(event).decode(), type(event).__name__, stream, version),
    )
    connection.execute("ALTER TABLE log.events ENABLE ALWAYS TRIGGER refuse_rewriting")


def user(number: int) -> UserRegistered:
    return UserRegistered(f"User {number}", f"user{number}@example.org", f"user{number}@example.org", None)


def broken(event: NewEvent, how: str) -> NewEvent:
    """The event as no release can read it."""
    match how:
        case "unknown type":
            return event._replace(type="UserTeleported")
        case "unknown version":
            return event._replace(schema_version=9)
        case "of another shape":
            return event._replace(data=b'{"name": 7, "delta": "x"}')
        case "not an object":
            return event._replace(data=b"17")
        case "half a surrogate pair":
            return event._replace(data=b'{"name": "\\ud800", "email": "ada@example.org", "external_id": null}')
        case "a NUL":
            return event._replace(data=b'{"name": "\\u0000", "email": "ada@example.org", "external_id": null}')
    raise AssertionError(how)


UNREADABLE = """
WITH head AS (UPDATE log.head SET position = position + %(many)s RETURNING position - %(many)s AS base)
INSERT INTO log.events (position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata)
SELECT base + number, 'order-' || uuidv7(), 1, 'OrderPlaced', 9, now(), now(), '{}', '{}'
FROM head, generate_series(1, %(many)s) AS number
"""


def append_unreadable(connection: Connection, many: int) -> None:
    """Append the first events of so many orders, of a version that no release knows."""
    connection.execute(UNREADABLE.encode(), {"many": many})
