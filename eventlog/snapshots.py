"""Writing snapshots: the states of streams, kept so that a stream need not be loaded from its first event."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from psycopg import AsyncConnection

# Of the other shapes that a stream has, the statement keeps the newest row: it may belong to another release that runs
# beside this one. It deletes the others, so a stream has two rows at most. With ctid no plan reads the whole table.
_KEEP = b"""
WITH written AS (
    SELECT stream, shape, version, state::json
    FROM unnest(%b::text[], %b::int8[], %b::int4[], %b::text[]) AS written (stream, shape, version, state)
), swept AS (
    DELETE FROM log.snapshots WHERE ctid = ANY(ARRAY(
        SELECT old.ctid FROM written CROSS JOIN LATERAL (
            SELECT ctid FROM log.snapshots
            WHERE stream = written.stream AND shape <> written.shape ORDER BY version DESC OFFSET 1
        ) AS old
    ))
)
INSERT INTO log.snapshots (stream, shape, version, state) SELECT * FROM written
ON CONFLICT ON CONSTRAINT snapshots_pkey DO UPDATE SET version = excluded.version, state = excluded.state
"""


class Snapshot(NamedTuple):
    """The fold of a stream's first `version` events, as JSON."""

    version: int
    shape: int
    state: bytes


def keep(snapshots: Mapping[str, Snapshot]) -> tuple[bytes, Sequence[object]]:
    """The statement that writes the snapshots, by stream. Each replaces what its stream has of that shape."""
    versions, shapes, states = map(list, zip(*snapshots.values(), strict=True))
    return _KEEP, (list(snapshots), shapes, versions, [state.decode() for state in states])


async def write(connection: AsyncConnection, stream: str, snapshot: Snapshot) -> None:
    """Write one snapshot by itself, without the log's head."""
    await connection.execute(*keep({stream: snapshot}))
