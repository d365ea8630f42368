"""Whether the log takes commands, found out by writing what they write and rolling it back."""

from datetime import UTC, datetime

from psycopg import AsyncConnection

from eventlog.append import statements, take_head
from eventlog.batch import Batch, NewEvent
from eventlog.events import OperatorActed
from eventlog.idempotency import KeptAnswer
from eventlog.ids import new_id
from eventlog.snapshots import Snapshot


async def rehearse(connection: AsyncConnection) -> None:
    """Write what commands write, and roll it back.

    Raises psycopg.Error, which says what keeps them from the log. The caller must then close the connection.
    """
    name, now = f"operator-{new_id()}", datetime.now(UTC)
    batch = Batch(
        [NewEvent.of(name, 1, OperatorActed("writes.rehearsed", "log", None), now, b"{}")],
        {name: name},
        released={f"{name}-old"},
        snapshots={name: Snapshot(1, 1, b"{}")},
        answers=[KeptAnswer(name.encode(), name, b"", 200, None, None, 0, b"")],
    )
    await take_head(connection)
    async with connection.pipeline():
        for query, params in statements(batch):
            await connection.execute(query, params)
        await connection.execute(b"ROLLBACK")
