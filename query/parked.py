"""Which of the resources that a select reads are parked: their events are held back since one that failed.

A select asks this itself, so that data and parked streams are read in one snapshot: a stream that is drained meanwhile
is either still parked or already in the tables. Parked streams are rare. The checkpoint row carries their count, and
PostgreSQL looks into read.parked only when it is not 0.
"""

from typing import Any

from sqlalchemy import ColumnElement, Table, Text, any_, case, cast, false, func, literal_column, null, select
from sqlalchemy.dialects.postgresql import ARRAY

from contract.problems import Problem
from readmodel.tables import checkpoint, parked

# Said beside what may be older than its Sync-Token.
PARKED = {"Projection-State": "parked"}


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


def parked_among(kind: str, ids: ColumnElement[Any]) -> ColumnElement[Any]:
    """Those streams of a kind that are parked, of an array of ids (uuid[]); null when there are none."""
    id_ = func.unnest(ids).column_valued("id")
    streams = func.array(select(_prefix(kind) + cast(id_, Text)).scalar_subquery())
    among = select(func.array_agg(parked.c.stream)).where(parked.c.stream == any_(streams), ~parked.c.skipped)
    return case((checkpoint.c.parked == literal_column("0"), null()), else_=cast(among.scalar_subquery(), ARRAY(Text)))


def is_parked(kind: str, id_: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the stream of this kind and id is parked."""
    return _if_any(select(parked.c.stream).where(parked.c.stream == _prefix(kind) + cast(id_, Text)))


def any_parked(kind: str) -> ColumnElement[bool]:
    """Whether a stream of this kind is parked."""
    return _if_any(select(parked.c.stream).where(func.starts_with(parked.c.stream, _prefix(kind))))


def _if_any(streams: Any) -> ColumnElement[bool]:
    return case((checkpoint.c.parked == literal_column("0"), false()), else_=streams.where(~parked.c.skipped).exists())


def _prefix(kind: str) -> ColumnElement[str]:
    return literal_column(f"'{kind}-'", Text)
