"""When each projection was last verified, and with which result. One row a projection."""

from psycopg import Connection

_RECORD = """
INSERT INTO log.verifications (projection, generation, position, differences) VALUES (%s, %s, %s, %s)
ON CONFLICT (projection) DO UPDATE SET generation = excluded.generation, position = excluded.position,
    differences = excluded.differences, verified_at = excluded.verified_at
"""


def record(connection: Connection, projection: str, generation: str, position: int, differences: int) -> None:
    """Keep the result of a verify of the tables of build `generation`. Raises psycopg.Error."""
    connection.execute(_RECORD, (projection, generation, position, differences))
