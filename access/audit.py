"""Writes the audit: what operators did to the service itself, when and why. Acts are events of the log."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from psycopg import AsyncConnection

from eventlog import append, connecting
from eventlog.batch import Batch, NewEvent
from eventlog.codec import encode
from eventlog.events import OperatorActed
from eventlog.ids import new_id

# Of what an operator wrote, here and wherever else it is kept: a job, a skip.
REASON_LENGTH_MAX = 1_000

Change = Callable[[AsyncConnection], Awaitable[None]]


async def append_act(
    database_url: str,
    actor: Mapping[str, str],
    act: str,
    target: str,
    reason: str | None,
    *,
    request_id: str | None = None,
    change: Change | None = None,
) -> None:
    """Append what an operator did.

    `actor` is {"kind": "key" | "token" | "cli", "id": ...}, never a name or an address. `act` is a word such as
    `projection.replayed`, `target` what it was done to, `reason` why. `change` runs in the same transaction, before
    the event: both happen, or neither. Raises ValueError if the reason is longer than REASON_LENGTH_MAX characters,
    psycopg.Error, append.Unreplicated and TimeoutError.
    """
    if reason and len(reason) > REASON_LENGTH_MAX:
        raise ValueError(f"the reason has more than {REASON_LENGTH_MAX:,} characters")
    metadata = {"actor": dict(actor), "command_id": new_id()} | ({"request_id": request_id} if request_id else {})
    acted = OperatorActed(act, target, reason or None)
    event = NewEvent.of(f"operator-{new_id()}", 1, acted, datetime.now(UTC), encode(metadata))
    connection = await connecting.connect(database_url)
    try:
        await append.take_head(connection)
        if change is not None:
            await change(connection)
        await append.append(connection, Batch(events=[event]))
    finally:
        await connection.close()
