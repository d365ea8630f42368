"""Where imported events came from: the file, told by a digest of its content, and the line, kept in their metadata."""

from collections.abc import Iterable
from itertools import islice

from psycopg import AsyncConnection

# Claims lead to streams, and an order's stream is short: no index on the log is needed for this. Spelled with ANY:
# on a log that was just filled and has no statistics yet, PostgreSQL plans a join so that it takes minutes.
_LAST_LINE = b"""
SELECT coalesce(max((metadata->>'line'::text)::integer), 0)
FROM log.events
WHERE metadata->>'file'::text = %s AND stream = ANY(ARRAY(
    SELECT stream FROM log.claims WHERE claim = ANY(%b::text[])
))
"""

CLAIMS_MAX = 10_000


def origin(file: str, line: int) -> dict[str, object]:
    """The members of an event's metadata that say where it came from."""
    return {"file": file, "line": line}


async def last_line(connection: AsyncConnection, file: str, claims: Iterable[str]) -> int:
    """The last line of the file that is in the log, among those whose streams have `claims`; 0 when none is."""
    last, left = 0, iter(claims)
    while wanted := list(islice(left, CLAIMS_MAX)):
        cursor = await connection.execute(_LAST_LINE, (file, wanted))
        ((found,),) = await cursor.fetchall()
        last = max(last, found)
    return last
