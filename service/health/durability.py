"""Checks whether a PostgreSQL server keeps the commits that it has acknowledged."""

from psycopg import Connection

# If one of these settings is off, orders that the service has acknowledged may be lost when PostgreSQL crashes.
# `synchronous_commit` may differ by role, database and session, so ask on a session like those that write.
SWITCHED_OFF = b"""
SELECT name FROM unnest('{fsync, full_page_writes, synchronous_commit}'::text[]) AS name
WHERE current_setting(name) = 'off'
"""


def switched_off(connection: Connection) -> list[str]:
    """The settings of durability that are off for this session. Raises psycopg.Error."""
    return [name for (name,) in connection.execute(SWITCHED_OFF).fetchall()]


def remedy(names: list[str]) -> str:
    return f"set {' and '.join(f'{name} = on' for name in names)} in PostgreSQL, or it loses orders when it crashes"
