"""Asks the workers for a job. The caller and the reason are recorded in the same transaction."""

from collections.abc import Mapping

from psycopg import AsyncConnection

from access.audit import append_act
from eventlog.ids import new_id
from projector.jobs import table


async def ask(database_url: str, actor: Mapping[str, str], wanted: table.Wanted) -> str:
    """Add a job, with an event of the audit. Returns its id.

    Raises what `append_act` raises; then there is no job.
    """
    id_ = new_id()

    async def change(connection: AsyncConnection) -> None:
        await table.insert(connection, id_, wanted, f"{actor['kind']} {actor['id']}")

    act, target = f"{wanted.kind}.requested", f"{wanted.target}, job {id_}"
    await append_act(database_url, actor, act, target, wanted.reason, change=change)
    return id_
