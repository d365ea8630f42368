"""Reading and writing API keys in PostgreSQL."""

from collections.abc import AsyncIterator, Collection
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

from contract.times import rfc3339

# To take over so many rows holds the event loop for about a millisecond.
_KEYS_AT_A_TIME = 100

_KEYS = b"""
SELECT id, account, name, sha256, role, scopes, user_id::text, created_by, created_at, expires_at, revoked_at,
       replaced_by, last_used_hour
FROM access.api_keys
"""
# A key that ended long ago is refused like one that never was, so it takes no memory.
_USABLE = b"""
SELECT sha256, id, account, role, array_to_string(scopes, ' '), user_id::text, expires_at, revoked_at
FROM access.api_keys WHERE coalesce(least(revoked_at, expires_at), 'infinity') > now() - interval '30 days'
"""
_OF_DIGESTS = _USABLE + b"AND sha256 = ANY(%s)"
_SOME = _USABLE + b"LIMIT %s"
_PAGE = (
    _KEYS
    + b"""
WHERE (created_at, id) > (
    CASE WHEN %(after)s::text IS NULL THEN '-infinity'
    ELSE (SELECT created_at FROM access.api_keys WHERE id = %(after)s) END,
    coalesce(%(after)s::text, ''))
ORDER BY created_at, id LIMIT %(limit)s
"""
)
_LATEST = _KEYS + b"ORDER BY created_at DESC, id DESC LIMIT %s"
_MADE_BY = _KEYS + b"WHERE created_by = %s ORDER BY created_at, id"
_OF_DIGEST = _KEYS + b"WHERE sha256 = %s"
_LOCKED = _KEYS + b"WHERE id = %s FOR UPDATE"

# A trigger raises the version at each change but that of last_used_hour. xmin and tableoid differ if an operator wrote
# the row itself or recreated the table, for example to restore a dump. The look fails when the keys cannot be read.
_VERSION = b"""
SELECT version, xmin::text, tableoid, EXISTS (SELECT FROM access.api_keys) FROM access.api_keys_version
"""

_ANY_VALID = b"""
SELECT FROM access.api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) LIMIT 1
"""

_INSERT = b"""
INSERT INTO access.api_keys (id, account, name, sha256, role, scopes, user_id, created_by, created_at, expires_at)
VALUES (%(id)s, %(account)s, %(name)s, %(sha256)s, %(role)s, %(scopes)s, %(user_id)s, %(created_by)s, %(created_at)s,
        %(expires_at)s)
"""

_REPLACE = b"UPDATE access.api_keys SET replaced_by = %s, expires_at = %s WHERE id = %s"

_REVOKE = b"UPDATE access.api_keys SET revoked_at = now() WHERE id = %s AND revoked_at IS NULL"

_HAS_USER = b"SELECT FROM log.events WHERE stream = %s AND version = 1"

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
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    replaced_by: str | None = None
    last_used_hour: datetime | None = None

    def shown(self) -> dict[str, Any]:
        """The key as operators see it: all columns but its digest, times as text."""
        columns = ((name, value) for name, value in self._asdict().items() if name != "sha256")
        return {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in columns}

    def is_valid(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


class UsableKey(NamedTuple):
    """What a request needs of a key; `scopes` with blanks between them."""

    sha256: bytes
    id: str
    account: str
    role: str
    scopes: str
    user_id: str | None
    expires_at: datetime | None
    revoked_at: datetime | None


async def load(
    connection: AsyncConnection, digests: Collection[bytes] | None, most: int
) -> AsyncIterator[list[UsableKey]]:
    """The keys with these digests, or any `most` of all keys, some at a time. Raises psycopg.Error.

    Leaves out keys that ended 30 days ago or longer.
    """
    cursor = connection.cursor()
    if digests is None:
        await cursor.execute(_SOME, (most,))
    else:
        await cursor.execute(_OF_DIGESTS, (list(digests),))
    while some := await cursor.fetchmany(_KEYS_AT_A_TIME):
        yield [UsableKey(*row) for row in some]


async def page(connection: AsyncConnection, after: str | None, limit: int) -> list[StoredKey]:
    """The next keys after the one with this id (None: the first), oldest first. Raises psycopg.Error."""
    cursor = connection.cursor(row_factory=class_row(StoredKey))
    await cursor.execute(_PAGE, {"after": after, "limit": limit})
    return await cursor.fetchall()


async def version(connection: AsyncConnection) -> object | None:
    """A value that changes with any key, but not with the hour of its use; None: unknown. Raises psycopg.Error."""
    return await (await connection.execute(_VERSION)).fetchone()


async def locked(connection: AsyncConnection, id_: str) -> StoredKey | None:
    """The key with this id, locked until the transaction ends. Raises psycopg.Error."""
    cursor = connection.cursor(row_factory=class_row(StoredKey))
    await cursor.execute(_LOCKED, (id_,))
    return await cursor.fetchone()


def latest(connection: Connection, limit: int) -> list[StoredKey]:
    """The newest keys, oldest first. Raises psycopg.Error."""
    cursor = connection.cursor(row_factory=class_row(StoredKey))
    return cursor.execute(_LATEST, (limit,)).fetchall()[::-1]


def made_by(connection: Connection, actor: str) -> list[StoredKey]:
    """The keys that an actor, such as `key Ab12Cd34`, has made, oldest first. Raises psycopg.Error."""
    return connection.cursor(row_factory=class_row(StoredKey)).execute(_MADE_BY, (actor,)).fetchall()


def of_digest(connection: Connection, digest: bytes) -> StoredKey | None:
    """The key with this digest. Raises psycopg.Error."""
    return connection.cursor(row_factory=class_row(StoredKey)).execute(_OF_DIGEST, (digest,)).fetchone()


def has_any(connection: Connection) -> bool:
    """Whether there is a key that is neither revoked nor expired. Raises psycopg.Error."""
    return connection.execute(_ANY_VALID).rowcount > 0


async def has_user(connection: AsyncConnection, user_id: str) -> bool:
    """Whether there is, or was, a user with this id, by the log itself. Raises psycopg.Error."""
    return (await connection.execute(_HAS_USER, (f"user-{user_id}",))).rowcount > 0


async def insert(connection: AsyncConnection, key: StoredKey) -> None:
    """Add a key. Raises psycopg.Error."""
    await connection.execute(_INSERT, key._asdict())


async def replace(connection: AsyncConnection, id_: str, by: str, expires_at: datetime) -> None:
    """Write down that another key takes the place of this one, which ends at `expires_at`. Raises psycopg.Error."""
    await connection.execute(_REPLACE, (by, expires_at, id_))


async def revoke(connection: AsyncConnection, id_: str) -> bool:
    """End a key. Returns whether there was one to end. Raises psycopg.Error."""
    return (await connection.execute(_REVOKE, (id_,))).rowcount > 0


async def note_use(connection: AsyncConnection, ids: Collection[str]) -> None:
    """Write down that these keys were used in this hour. Raises psycopg.Error."""
    await connection.execute(_USED, (list(ids),))


async def user_of(connection: AsyncConnection, external_id: str) -> str | None:
    """The id of the user who has the claim on the external_id. Raises psycopg.Error."""
    cursor = await connection.execute(b"SELECT stream FROM log.claims WHERE claim = %s", (f"user:{external_id}",))
    row = await cursor.fetchone()
    return str(row[0]).removeprefix("user-") if row else None
