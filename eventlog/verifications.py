"""When each projection was last verified, and with which result: one row a projection, for doctor and metrics."""

from psycopg import Connection, sql

_RECORD = """
INSERT INTO log.verifications (projection, generation, position, differences)
SELECT %s, generation, %s, %s FROM {checkpoint}
ON CONFLICT (projection) DO UPDATE SET generation = excluded.generation, position = excluded.position,
    differences = excluded.differences, verified_at = excluded.verified_at
"""


def record(
    connection: Connection, projection: str, checkpoint: sql.Identifier, position: int, differences: int
) -> None:
    """Keep the result of a verify of the tables whose `checkpoint` names their build. Raises psycopg.Error."""
    connection.execute(sql.SQL(_RECORD).format(checkpoint=checkpoint), (projection, position, differences))
