"""Which of the resources that a select reads are parked: their events are held back since one that failed.

A select asks this itself, so that data and parked streams are read in one snapshot: a stream that is drained meanwhile
is either still parked or already in the tables. Parked streams are rare. The checkpoint row carries their count, and
PostgreSQL looks into the table of parked streams only when it is not 0.
"""

from typing import Any

from sqlalchemy import ColumnElement, Table, Text, any_, case, cast, false, func, literal_column, null, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from contract.problems import Problem
from readmodel.base import checkpoint_of, parked_of

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


def parked_among(table: Table, ids: ColumnElement[Any]) -> ColumnElement[Any]:
    """Those streams of the table's kind that are parked, of an array of ids (uuid[]); null when there are none."""
    parked = parked_of(table.metadata)
    id_ = func.unnest(ids).column_valued("id")
    streams = func.array(select(_prefix(table) + cast(id_, Text)).scalar_subquery())
    among = select(func.array_agg(parked.c.stream)).where(parked.c.stream == any_(streams), ~parked.c.skipped)
    return case((_none(table), null()), else_=cast(among.scalar_subquery(), ARRAY(Text)))


def is_parked(table: Table, id_: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the stream of the table's kind and this id is parked."""
    return _if_any(table, parked_of(table.metadata).c.stream == _prefix(table) + cast(id_, Text))


def any_parked(table: Table) -> ColumnElement[bool]:
    """Whether a stream of the table's kind is parked. Without such a kind any parked stream counts."""
    of_kind = func.starts_with(parked_of(table.metadata).c.stream, _prefix(table)) if "id" in table.c else true()
    return _if_any(table, of_kind)


def _if_any(table: Table, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    parked = parked_of(table.metadata)
    streams = select(parked.c.stream).where(condition, ~parked.c.skipped)
    return case((_none(table), false()), else_=streams.exists())


def _none(table: Table) -> ColumnElement[bool]:
    return checkpoint_of(table.metadata).c.parked == literal_column("0")


def _prefix(table: Table) -> ColumnElement[str]:
    return literal_column(f"'{kind_of(table)}-'", Text)
