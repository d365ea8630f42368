"""Links that sign a browser in once: made by `orders up`, valid for ten minutes, and kept as a digest alone."""

import secrets
from datetime import timedelta

from psycopg import AsyncConnection, Connection

from access import issuing, keys
from access.issuing import Issued, Wanted
from database.sessions import Limits, connect_async

VALID_FOR = timedelta(minutes=10)
# The key that the browser gets in exchange.
VISIT = timedelta(hours=12)
TOKEN_BYTES = 32
TOKEN_LENGTH_MAX = 200
SECONDS_MAX = 5.0

_DROP_EXPIRED = b"DELETE FROM access.sign_in_links WHERE expires_at < now()"
_ADD = b"INSERT INTO access.sign_in_links (sha256, expires_at) VALUES (%s, now() + %s)"
_IS_THERE = b"SELECT FROM access.sign_in_links WHERE sha256 = %s AND expires_at > now()"
_USE = b"DELETE FROM access.sign_in_links WHERE sha256 = %s AND expires_at > now()"


class _UsedMeanwhile(Exception):
    pass


def make(connection: Connection) -> str:
    """The token of a new link. Raises psycopg.Error."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    connection.execute(_DROP_EXPIRED)
    connection.execute(_ADD, (keys.digest(token), VALID_FOR))
    return token


async def use(database_url: str, token: str) -> Issued | None:
    """Use up a link: the operator's key that it gives, or None if it was used before, has expired, or never was.

    The link stays valid if no key could be made. Raises psycopg.Error, Unreplicated and TimeoutError.
    """
    digest = keys.digest(token[:TOKEN_LENGTH_MAX])
    # Making a key locks the head of the log. A stranger with a wrong token must not get that far.
    if not await _is_there(database_url, digest):
        return None

    async def take(connection: AsyncConnection) -> None:
        if not (await connection.execute(_USE, (digest,))).rowcount:
            raise _UsedMeanwhile

    wanted = Wanted("console, by a sign-in link", "operator", lifetime=VISIT)
    try:
        return await issuing.create(database_url, wanted, {"kind": "cli", "id": "sign-in link"}, first=take)
    except _UsedMeanwhile:
        return None


async def _is_there(database_url: str, digest: bytes) -> bool:
    connection: AsyncConnection = await connect_async(
        database_url, "orders console", Limits(statement=SECONDS_MAX), seconds_max=SECONDS_MAX
    )
    try:
        return (await connection.execute(_IS_THERE, (digest,))).rowcount == 1
    finally:
        await connection.close()
