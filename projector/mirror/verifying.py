"""Verify a mirror: fold the log once more, into a file of SQLite, and compare every row and column.

One snapshot of the mirror is compared, so it may go on working meanwhile. The values are compared as Python has them,
and as they are written: an amount of 2.5 is an amount of 2.50, because neither database of a mirror keeps the zeros.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Table, func, select, type_coerce
from sqlalchemy.engine import Connection

from projector.connecting import connect
from projector.loop import Loop
from projector.mirror.building import BATCH_EVENTS, prepare
from projector.mirror.sqlite import SqliteTarget
from projector.mirror.target import Target, Unsuitable
from projector.mirror.writer import MirrorWriter
from projector.paging import reader_of
from projector.projection import Projection
from projector.read_ahead import ReadAhead
from projector.shadow import Report
from projector.verify import PARKED_COLUMNS, Difference, Verdict
from readmodel.base import parked_of

_ROWS_AT_ONCE = 2_000


def verify(database_url: str, target: Target, projection: Projection, report: Report) -> Verdict:
    """Compare the mirror with the fold of the log.

    Raises Unsuitable, OtherLog, OtherVersion, sqlalchemy.exc.DBAPIError and psycopg.Error.
    """
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
        proof = SqliteTarget(URL.create("sqlite", database=str(Path(directory) / "proof.db")))
        try:
            with proof.writing() as writing:
                _fold(database_url, log, proof, writing, projection, position, report)
            with proof.snapshot() as folded:
                return _compare(target, snapshot, proof, folded, projection, position)
        finally:
            proof.close()


def _fold(
    database_url: str,
    log: psycopg.Connection,
    proof: Target,
    writing: Connection,
    projection: Projection,
    position: int,
    report: Report,
) -> None:
    prepare(proof, writing, projection, log)
    with ReadAhead(connect(database_url), reader_of(projection)) as ahead:
        loop = Loop(projection, read_page=ahead.page, writer=MirrorWriter(proof, writing, projection))
        while True:
            progress = loop.project(log, BATCH_EVENTS, until=position)
            report(progress)
            if not progress.lag:
                return


def _compare(
    target: Target, snapshot: Connection, proof: Target, folded: Connection, projection: Projection, position: int
) -> Verdict:
    verdict = Verdict(projection.name, position)
    live, right = target.layout(projection), proof.layout(projection)
    for table in projection.plain_tables:
        name = str(table.name)
        stands = _rows(target, snapshot, table, live.tables[name])
        verdict.rows[name] = snapshot.execute(select(func.count()).select_from(live.tables[name])).scalar_one()
        verdict.add(_differences(table, stands, _rows(proof, folded, table, right.tables[name])))
    parked = parked_of(projection.metadata)
    verdict.parked = snapshot.execute(select(func.count()).where(~live.parked.c.skipped)).scalar_one()
    stands = _rows(target, snapshot, parked, live.parked, PARKED_COLUMNS)
    folded_rows = _rows(proof, folded, parked, right.parked, PARKED_COLUMNS)
    verdict.add(_differences(parked, stands, folded_rows, PARKED_COLUMNS))
    return verdict


def _rows(
    target: Target, connection: Connection, table: Table, stored: Table, names: Sequence[str] | None = None
) -> Iterator[tuple[Any, ...]]:
    """The rows of a stored table in the order of its key, with the types that the read model gives them."""
    columns = [type_coerce(stored.c[it.name], it.type) for it in table.columns if not names or it.name in names]
    keys = [target.ordering(stored.c[column.name]) for column in table.primary_key]
    statement = select(*columns).order_by(*keys)
    for row in connection.execute(statement, execution_options={"yield_per": _ROWS_AT_ONCE}):
        yield tuple(row)


def _differences(
    table: Table,
    stands: Iterator[tuple[Any, ...]],
    should_be: Iterator[tuple[Any, ...]],
    names: Sequence[str] | None = None,
) -> Iterator[Difference]:
    """Walk both in the order of their keys."""
    name = str(table.name)
    columns = [str(column.name) for column in table.columns if not names or column.name in names]
    places = [columns.index(column.name) for column in table.primary_key]

    def key_of(row: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(row[place] for place in places)

    def named(row: tuple[Any, ...]) -> dict[str, Any]:
        return {columns[place]: row[place] for place in places}

    live, right = next(stands, None), next(should_be, None)
    while live is not None or right is not None:
        if live is not None and (right is None or key_of(live) < key_of(right)):
            yield Difference(name, named(live), None, dict(zip(columns, live, strict=True)), None)
            live = next(stands, None)
        elif right is not None and (live is None or key_of(right) < key_of(live)):
            yield Difference(name, named(right), None, None, dict(zip(columns, right, strict=True)))
            right = next(should_be, None)
        else:
            assert live is not None
            assert right is not None
            for column, stood, wanted in zip(columns, live, right, strict=True):
                if stood != wanted:
                    yield Difference(name, named(live), column, stood, wanted)
            live, right = next(stands, None), next(should_be, None)
