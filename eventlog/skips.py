"""Skips: events that an operator has the read tables do without. The log keeps them, and every replay heeds them."""

from psycopg import Connection

# A part of other statements: the last position that is skipped, or 0. The end of an index, which costs next to nothing.
LAST_POSITION = "coalesce((SELECT max(position) FROM log.skips WHERE log_id = 0), 0)"

_POSITIONS = b"SELECT position FROM log.skips WHERE log_id = 0 AND position > %s AND position <= %s"

# Twice the same is one decision: whoever was cut off in the middle repeats the command.
_ADD = b"""
INSERT INTO log.skips (position, stream, version, reason, skipped_by) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT ON CONSTRAINT skips_pkey DO NOTHING
"""


def positions(connection: Connection, after: int, up_to: int) -> set[int]:
    """The positions after < position <= up_to that are skipped."""
    return {position for (position,) in connection.execute(_POSITIONS, (after, up_to)).fetchall()}


def add(connection: Connection, position: int, stream: str, version: int, reason: str, by: str) -> None:
    """Have the read tables do without an event, for good. `reason` must not be empty."""
    connection.execute(_ADD, (position, stream, version, reason, by))
