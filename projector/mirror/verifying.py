"""Verify a mirror: fold the log once more, into a file of SQLite, and compare every row and column.

One snapshot of the mirror is compared, so it may go on working meanwhile. The values are compared as Python has them,
and as they are written: an amount of 2.5 is an amount of 2.50, because neither database of a mirror keeps the zeros.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Table, func, select, type_coerce
from sqlalchemy.engine import Connection

from projector.connecting import connect
from projector.mirror.building import MirrorTables
from projector.mirror.sqlite import SqliteTarget
from projector.mirror.target import Target, Unsuitable
from projector.mirror.writer import MirrorWriter
from projector.paging import ReadAhead
from projector.projection import Projection
from projector.shadow import Report
from projector.verify import PARKED_COLUMNS, Difference, Verdict, differences_of
from readmodel.base import parked_of

_ROWS_AT_ONCE = 2_000


def verify(database_url: str, target: Target, projection: Projection, report: Report) -> Verdict:
    """Compare a mirror with a fold of the log. Raises Unsuitable, OtherLog, OtherVersion, DBAPIError, psycopg.Error."""
    with (
        tempfile.TemporaryDirectory(prefix="orders-verify-") as directory,
        connect(database_url) as log,
        target.snapshot() as snapshot,
        snapshot.begin(),
    ):
        layout = target.layout(projection)
        if layout.checkpoint.name not in target.existing(snapshot, layout):
            raise Unsuitable(f"{target.shown} has no tables of {projection.name}: run `orders mirror` first")
        position: int = snapshot.execute(select(layout.checkpoint.c.position)).scalar_one()
        MirrorWriter(target, snapshot, projection).look(log)
        with closing(SqliteTarget(URL.create("sqlite", database=str(Path(directory) / "proof.db")))) as proof:
            with proof.writing() as writing, ReadAhead(database_url, projection) as ahead:
                tables = MirrorTables(proof, writing, projection, log)
                tables.prepare()
                tables.fill(ahead, report, until=position)
            with proof.snapshot() as folded:
                return _compare(target, snapshot, proof, folded, projection, position)


def _compare(
    target: Target, snapshot: Connection, proof: Target, folded: Connection, projection: Projection, position: int
) -> Verdict:
    verdict = Verdict(projection.name, position)
    live, right = target.layout(projection), proof.layout(projection)

    def compare(table: Table, stored: Table, proven: Table, columns: Sequence[str]) -> None:
        stands = _rows(target, snapshot, table, stored, columns)
        verdict.add(_differences(table, columns, stands, _rows(proof, folded, table, proven, columns)))

    for table in projection.plain_tables:
        name = str(table.name)
        verdict.rows[name] = snapshot.execute(select(func.count()).select_from(live.tables[name])).scalar_one()
        compare(table, live.tables[name], right.tables[name], [str(column.name) for column in table.columns])
    verdict.parked = snapshot.execute(select(func.count()).where(~live.parked.c.skipped)).scalar_one()
    compare(parked_of(projection.metadata), live.parked, right.parked, PARKED_COLUMNS)
    return verdict


def _rows(
    target: Target, connection: Connection, table: Table, stored: Table, columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows of a stored table in the order of its key, with the types that the read model gives them."""
    typed = [type_coerce(stored.c[name], table.c[name].type) for name in columns]
    keys = [target.ordering(stored.c[column.name]) for column in table.primary_key]
    statement = select(*typed).order_by(*keys)
    for row in connection.execute(statement, execution_options={"yield_per": _ROWS_AT_ONCE}):
        yield dict(zip(columns, row, strict=True))


def _differences(
    table: Table, columns: Sequence[str], stands: Iterator[dict[str, Any]], should_be: Iterator[dict[str, Any]]
) -> Iterator[Difference]:
    """Walk both in the order of their keys."""
    keys = [str(column.name) for column in table.primary_key]

    def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in keys)

    live, right = next(stands, None), next(should_be, None)
    while live is not None or right is not None:
        # The row with the smaller key; both rows, if their keys are equal.
        is_live = live is not None and (right is None or key_of(live) <= key_of(right))
        is_right = right is not None and (live is None or key_of(right) <= key_of(live))
        yield from differences_of(table, columns, live if is_live else None, right if is_right else None)
        live = next(stands, None) if is_live else live
        right = next(should_be, None) if is_right else right
