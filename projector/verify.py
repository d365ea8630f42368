"""Verify: prove that the read tables equal the fold of the log, naming every row and column that differs.

The fold is made anew, by the loop, in a schema of its own. Live projection stands still for the last few events, until
both are at the same position and one snapshot sees both; then it goes on, while that snapshot is compared.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection, IsolationLevel, sql
from sqlalchemy import Table

from projector.loop import CHECKPOINT, Loop, connect
from projector.read_ahead import ReadAhead
from projector.shadow import BATCH_EVENTS, VERIFY_SCHEMA, Report, Shadow, building
from readmodel import tables

TABLES = (tables.users, tables.products, tables.orders, tables.order_items, tables.parked)

# Of a parked stream it counts where it stands; how it came to that, and when, may have been told otherwise.
_PARKED_COLUMNS = ("stream", "position", "version", "type", "skipped")


@dataclass(frozen=True, slots=True)
class Difference:
    """A column of a row that is not what the log says. `column` None: the whole row is missing, or too much."""

    table: str
    key: dict[str, Any]
    column: str | None
    stands: Any
    should_be: Any


@dataclass(slots=True)
class Verdict:
    """What was compared, at which position, and what differs.

    `parked` streams are in the tables only as far as they were projected; that they have to be is a part of the proof.
    """

    position: int
    parked: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)


def verify(database_url: str, report: Report) -> Verdict:
    """Compare every row and column. Raises Busy and psycopg.Error."""
    with building(database_url) as connection:
        live = Loop()
        with (
            ReadAhead(connect(database_url)) as ahead,
            Shadow(connection, VERIFY_SCHEMA, read_page=ahead.page, logged=False) as shadow,
            connect(database_url) as snapshot,
        ):
            # Up to where the live tables are, not to the end of the log: they may be behind it, and never go back.
            shadow.fill(report, lambda: live.look(connection).position)
            shadow.park_orphans()
            # Comparing takes as long as it takes; this connection holds no lock that anybody waits for.
            snapshot.execute("SET idle_in_transaction_session_timeout = 0")
            snapshot.isolation_level = IsolationLevel.REPEATABLE_READ
            with snapshot.transaction():
                verdict = Verdict(_same_position(database_url, connection, shadow, snapshot))
                for table in TABLES:
                    count = _count(snapshot, table)
                    if table is tables.parked:
                        verdict.parked = count
                    else:
                        verdict.rows[str(table.name)] = count
                    verdict.differences.extend(_differences(snapshot, table))
    return verdict


def _same_position(database_url: str, connection: Connection, shadow: Shadow, snapshot: Connection) -> int:
    """Hold the live tables at their position, bring the fold there, and begin the snapshot that sees both."""
    position = sql.SQL("SELECT position FROM {} WHERE name = %s").format(sql.Identifier(tables.SCHEMA, "checkpoint"))
    with connect(database_url) as gate, gate.transaction():
        row = gate.execute(position + sql.SQL(" FOR UPDATE"), (CHECKPOINT,)).fetchone()
        assert row is not None, "the migration made the checkpoint"
        held: int = row[0]
        while shadow.loop.project(connection, BATCH_EVENTS, until=held).events:
            pass
        shadow.heed_skips()
        seen = snapshot.execute(position, (CHECKPOINT,)).fetchone()
        # Whether the gate held until here: PostgreSQL ends a session that stands still for too long.
        gate.execute("SELECT")
        assert seen == (held,), "the live tables stand still while the gate is held"
    return held


def _count(snapshot: Connection, table: Table) -> int:
    name = sql.Identifier(tables.SCHEMA, table.name)
    row = snapshot.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
    assert row is not None
    count: int = row[0]
    return count


def _differences(snapshot: Connection, table: Table) -> Iterator[Difference]:
    # Names that SQLAlchemy gives are a kind of text that JSON encoders do not know.
    name = str(table.name)
    keys = [str(column.name) for column in table.primary_key]
    columns = _PARKED_COLUMNS if table is tables.parked else [str(column.name) for column in table.columns]
    # Compared as text: 2.5 for 2.50 is a difference, though the numbers are equal.
    statement = sql.SQL(
        "SELECT to_json(live)::text, to_json(proof)::text "
        "FROM (SELECT {columns} FROM {live}) AS live FULL JOIN (SELECT {columns} FROM {proof}) AS proof USING ({keys}) "
        "WHERE live::text IS DISTINCT FROM proof::text ORDER BY {keys}"
    ).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        live=sql.Identifier(tables.SCHEMA, table.name),
        proof=sql.Identifier(VERIFY_SCHEMA, table.name),
        keys=sql.SQL(", ").join(map(sql.Identifier, keys)),
    )
    # Row by row: tables that differ everywhere need not fit into memory as well.
    for texts in snapshot.cursor().stream(statement):
        live, proof = (_decode(text) if text else None for text in texts)
        row = live or proof or {}
        key = {name: row[name] for name in keys}
        if live is None or proof is None:
            yield Difference(name, key, None, live, proof)
            continue
        for column in columns:
            if live[column] != proof[column]:
                yield Difference(name, key, column, live[column], proof[column])


# Numbers stay as they are written, for the same reason.
_decode = json.JSONDecoder(parse_float=str).decode
