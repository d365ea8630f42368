"""Reading and writing API keys in PostgreSQL."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

_ALL = b"""
SELECT id, account, name, sha256, role, scopes, user_id::text, created_by, created_at, expires_at, revoked_at,
       replaced_by, last_used_hour
FROM access.api_keys ORDER BY created_at, id
"""

_INSERT = b"""
INSERT INTO access.api_keys (id, account, name, sha256, role, scopes, user_id, created_by, expires_at)
VALUES (%(id)s, %(account)s, %(name)s, %(sha256)s, %(role)s, %(scopes)s, %(user_id)s, %(created_by)s, %(expires_at)s)
"""

_USED = b"""
UPDATE access.api_keys SET last_used_hour = date_trunc('hour', now())
WHERE id = ANY(%s) AND last_used_hour IS DISTINCT FROM date_trunc('hour', now())
"""


class StoredKey(NamedTuple):
    """A row of access.api_keys."""

    id: str
    account: str
    name: str
    sha256: bytes
    role: str
    scopes: list[str]
    user_id: str | None
    created_by: str
    created_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None
    last_used_hour: datetime | None


async def load(connection: AsyncConnection) -> list[StoredKey]:
    """All keys, oldest first. Raises psycopg.Error."""
    cursor = connection.cursor(row_factory=class_row(StoredKey))
    await cursor.execute(_ALL)
    return await cursor.fetchall()


def listed(connection: Connection) -> list[StoredKey]:
    """All keys, oldest first. Raises psycopg.Error."""
    cursor = connection.cursor(row_factory=class_row(StoredKey))
    return cursor.execute(_ALL).fetchall()


def insert(connection: Connection, key: StoredKey) -> None:
    """Add a key. Raises psycopg.Error."""
    connection.execute(_INSERT, key._asdict())


async def note_use(connection: AsyncConnection, ids: Collection[str]) -> None:
    """Write down that these keys were used in this hour. Raises psycopg.Error."""
    await connection.execute(_USED, (list(ids),))
