"""Answers kept under their Idempotency-Key, in the same transaction as the events they answer for."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from psycopg import AsyncConnection, AsyncCursor

# Kept for 30 days by promise; the rest is leeway for clocks and for retries that come late.
KEPT_DAYS = 35
# The writer holds the head while it deletes them, so both their number and their bytes are bounded.
_FORGET_LIMIT = 1000
_FORGET_BYTES_MAX = 64 * 1024**2
# An answer may have hundreds of kilobytes. After so many bytes the query returns the further answers without bodies.
BODIES_BYTES_MAX = 2 * 1024**2

# LATERAL with LIMIT: a look-up in the index for each, whatever the planner believes of the table. PostgreSQL knows the
# length of a body without reading it.
_FIND = b"""
SELECT caller, key, fingerprint, status, location, version, position, CASE WHEN bytes_before < %s THEN body END
FROM (
    SELECT kept.*, sum(octet_length(kept.body)) OVER (ORDER BY number) - octet_length(kept.body) AS bytes_before
    FROM unnest(%b::bytea[], %b::text[]) WITH ORDINALITY AS wanted (caller, key, number), LATERAL (
        SELECT * FROM log.idempotency_keys AS kept WHERE kept.caller = wanted.caller AND kept.key = wanted.key LIMIT 1
    ) AS kept
) AS found
"""

_KEEP = b"""
INSERT INTO log.idempotency_keys (caller, key, fingerprint, status, location, version, position, body)
SELECT * FROM unnest(%b::bytea[], %b::text[], %b::bytea[], %b::int2[], %b::text[], %b::int4[], %b::int8[], %b::bytea[])
"""

_FORGET = b"""
DELETE FROM log.idempotency_keys WHERE (caller, key) IN (
    SELECT caller, key FROM (
        SELECT caller, key, sum(octet_length(body)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(body) AS bytes_before
        FROM log.idempotency_keys WHERE created_at < now() - make_interval(days => %s) LIMIT %s
    ) AS old WHERE bytes_before < %s)
"""


class KeptAnswer(NamedTuple):
    """The answer to a command that carried a key. `caller` is whose key it is, `fingerprint` a hash of the request.

    `body` is None when the bodies before it in the same query came to BODIES_BYTES_MAX.
    """

    caller: bytes
    key: str
    fingerprint: bytes
    status: int
    location: str | None
    version: int | None
    position: int
    body: bytes | None


async def find(connection: AsyncConnection, wanted: Iterable[tuple[bytes, str]]) -> AsyncCursor:
    """Ask for the answers kept under these (caller, key) pairs: rows of KeptAnswer, the first ones with bodies."""
    callers, keys = zip(*wanted, strict=True)
    cursor = connection.cursor(binary=True)
    return await cursor.execute(_FIND, (BODIES_BYTES_MAX, list(callers), list(keys)))


def keep(answers: Sequence[KeptAnswer]) -> tuple[bytes, Sequence[object]]:
    return _KEEP, [list(column) for column in zip(*answers, strict=True)]


def forget() -> tuple[bytes, tuple[int, int, int]]:
    """The statement that deletes some answers that are older than promised, by the clock that wrote `created_at`."""
    return _FORGET, (KEPT_DAYS, _FORGET_LIMIT, _FORGET_BYTES_MAX)
