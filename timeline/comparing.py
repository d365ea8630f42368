"""Whether the rows that a projection has of one stream equal the fold of that stream: the badge, and the proof.

Rows and checkpoint are read in one snapshot; then the stream is folded up to that checkpoint, without a lock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table

from contract.names import split
from eventlog.codec import encode
from projector.projection import Projection
from projector.verify import Difference, decode, differences_of
from query.database import Statement
from timeline.folding import Fold
from timeline.reading import AtPosition, Past, Selecting, Timeline

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing one stream's rows with its fold.

    `position` is the checkpoint of the projection, `version` the stream's version there, `last` its version in the log.
    `parked`: the projection holds the stream back behind `version`, for a fault or a skip. `rows`: how many rows of
    the stream each table has.
    """

    projection: str
    stream: str
    position: int
    version: int
    last: int
    parked: bool
    rows: dict[str, int]
    differences: list[Difference] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.differences

    @property
    def behind(self) -> int:
        return self.last - self.version

    @property
    def exists(self) -> bool:
        return self.last > 0 or bool(self.differences)


def has_rows_of(projection: Projection, stream: str) -> bool:
    """Whether the projection has tables with rows of this stream's own. Sums over many streams have none."""
    return bool(_tables(projection, stream))


async def compare(
    select: Selecting, projection: Projection, stream: str, *, whole: bool = False, known: Sequence[Past] = ()
) -> Comparison:
    """Compare the rows of one stream. `whole`: fold every event, also of a product; `known` is as in Timeline.at.

    Expects a projection with rows of its own for the stream (`has_rows_of`). Raises what `select` raises (Problem
    `projection-behind` when another release built the tables), and Unfoldable.
    """
    tables = _tables(projection, stream)
    parameters = {"stream": stream, "id": split(stream)[1]}
    ((position, parked_at, *texts),) = await select.rows(_live(projection, tables), parameters)
    live = [decode(text.decode()) for text in texts]
    up_to = position if parked_at is None else min(position, parked_at - 1)
    past = await Timeline(select, projection).at(stream, AtPosition(up_to), whole=whole, known=known)
    differences: list[Difference] = []
    for table, stands in zip(tables, live, strict=True):
        differences += _differences(table, stands, await _typed(select, projection, table, past.fold))
    return Comparison(
        projection.name,
        stream,
        position,
        past.version,
        past.last,
        parked_at is not None,
        {str(table.name): len(rows) for table, rows in zip(tables, live, strict=True)},
        differences,
    )


def _tables(projection: Projection, stream: str) -> list[Table]:
    kind = split(stream)[0]
    owners = projection.stream_columns
    return [table for table in projection.plain_tables if owners.get(table.name, ("", ""))[0] == kind]


def _live(projection: Projection, tables: Sequence[Table]) -> Statement:
    """The checkpoint, where the stream is parked (or null), and its rows in each table, as a JSON array."""
    schema = projection.name
    rows = [
        f"""coalesce((
    SELECT json_agg(to_json(row)) FROM (
        SELECT {", ".join(_columns(table))} FROM {schema}.{table.name}
        WHERE {projection.stream_columns[table.name][1]} = %(id)s::uuid
    ) AS row
), '[]')"""  # noqa: S608 - names of our own tables
        for table in tables
    ]
    text = f"""
SELECT checkpoint.position, (SELECT position FROM {schema}.parked WHERE stream = %(stream)s), {", ".join(rows)}
FROM {schema}.checkpoint AS checkpoint WHERE version = {projection.version}
"""  # noqa: S608 - names of our own tables
    return Statement(text.encode(), projection=schema)


async def _typed(select: Selecting, projection: Projection, table: Table, fold: Fold) -> list[Row]:
    """The folded rows as PostgreSQL writes them once they are in the table."""
    folded = [{name: cell.value for name, cell in row.items()} for row in fold.table(table.name)]
    text = f"""
SELECT coalesce(json_agg(to_json(row)), '[]') FROM (
    SELECT {", ".join(_columns(table))}
    FROM json_populate_recordset(NULL::{projection.name}.{table.name}, %(rows)s::json)
) AS row
"""  # noqa: S608 - names of our own tables
    ((rows,),) = await select.rows(Statement(text.encode()), {"rows": encode(folded).decode()})
    typed: list[Row] = decode(rows.decode())
    return typed


def _differences(table: Table, live: list[Row], proof: list[Row]) -> Iterator[Difference]:
    keys = [column.name for column in table.primary_key]
    stands, should_be = ({tuple(row[name] for name in keys): row for row in rows} for rows in (live, proof))
    for key in sorted(stands.keys() | should_be.keys()):
        yield from differences_of(table, _columns(table), stands.get(key), should_be.get(key))


def _columns(table: Table) -> list[str]:
    return [str(column.name) for column in table.columns]
