"""What is parked among the things that are read: held back since an event of theirs that could not be projected.

Hardly ever is anything. So the checkpoint, which every select reads, counts it, and only then is looked which it is.
"""

from collections.abc import Iterable

from sqlalchemy import Table, Text, any_, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY

from contract.problems import Problem
from query.database import Reads
from query.statements import beside_checkpoint, compiled, of_read_tables
from readmodel.tables import parked

# Said beside what may be older than its Sync-Token.
PARKED = {"Projection-State": "parked"}

_AMONG = compiled(
    select(parked.c.stream)
    .select_from(
        beside_checkpoint((parked, parked.c.stream == any_(cast(bindparam("streams", type_=Text), ARRAY(Text)))))
    )
    .where(of_read_tables(), ~parked.c.skipped)
)
_OF_KIND = compiled(
    select(parked.c.stream)
    .select_from(beside_checkpoint((parked, func.starts_with(parked.c.stream, bindparam("prefix", type_=Text)))))
    .where(of_read_tables(), ~parked.c.skipped)
    .limit(literal_column("1"))
)


def kind_of(table: Table) -> str:
    """The kind of streams that a table has a row for each of: `order` of `orders`."""
    return str(table.name).removesuffix("s")


def absent(path: str, position: int, parked: bool) -> Problem:
    """Why the resource at `path` is not in what was read, as of `position`."""
    headers = {"Sync-Token": str(position)}
    if parked:
        # It is there; saying "not found" would have its owner do it again.
        detail = f"{path} is not in the read tables: its events are parked until their cause is mended."
        return Problem("projection-behind", detail, headers=headers | PARKED | {"Retry-After": "5"})
    return Problem("not-found", f"There is no {path}.", headers=headers)


async def parked_ids(reads: Reads, kind: str, ids: Iterable[str]) -> set[str]:
    """Those of the ids (UUIDs) whose streams are parked. Raises Problem `unavailable`."""
    streams = "{" + ",".join(f"{kind}-{id_}" for id_ in ids) + "}"
    return {stream.removeprefix(f"{kind}-") for (stream,) in await reads.rows(_AMONG, {"streams": streams})}


async def any_parked(reads: Reads, kind: str) -> bool:
    """Whether a stream of this kind is parked. Raises Problem `unavailable`."""
    return bool(await reads.rows(_OF_KIND, {"prefix": f"{kind}-"}))
