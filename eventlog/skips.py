"""Skips: events that an operator had a projection leave out. The log keeps them; every replay leaves them out too."""

from collections.abc import Sequence

from psycopg import Connection

# A part of other statements: the last position that is skipped, or 0. It reads the end of an index.
LAST_POSITION = "coalesce((SELECT max(position) FROM log.skips WHERE projection = %(projection)s), 0)"

# A condition: the projection skips the event of the table or alias `{}`.
IS_SKIPPED = (
    "EXISTS (SELECT FROM log.skips AS skip WHERE skip.projection = %(projection)s AND skip.position = {}.position)"
)

_POSITIONS = b"SELECT position FROM log.skips WHERE projection = %s AND position > %s AND position <= %s"

_OF_STREAMS = b"SELECT position FROM log.skips WHERE projection = %s AND stream = ANY(%s)"
# An operator whose command was cut off repeats it: the same skip twice is one skip.
_ADD = b"""
INSERT INTO log.skips (projection, position, stream, version, reason, skipped_by) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT ON CONSTRAINT skips_pkey DO NOTHING
"""


def positions(connection: Connection, projection: str, after: int, up_to: int) -> set[int]:
    """The positions after < position <= up_to that the projection leaves out."""
    return {position for (position,) in connection.execute(_POSITIONS, (projection, after, up_to)).fetchall()}


def of_streams(connection: Connection, projection: str, streams: Sequence[str]) -> set[int]:
    """The positions of these streams that the projection leaves out."""
    return {position for (position,) in connection.execute(_OF_STREAMS, (projection, list(streams)))}


def add(
    connection: Connection, projection: str, position: int, stream: str, version: int, reason: str, by: str
) -> None:
    """Have the projection leave an event out, for good. `reason` must not be empty."""
    connection.execute(_ADD, (projection, position, stream, version, reason, by))
