"""Verify: prove that the tables of a projection equal the fold of the log, and name every row and column that differs.

The loop folds the log once more, in a schema of its own. Live projection pauses for the last few events, until both are
at the same position and one snapshot sees both; then it goes on, while that snapshot is compared.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, IsolationLevel, sql
from sqlalchemy import Table

from database.sessions import READS, only_row
from eventlog import verifications
from projector.connecting import connect
from projector.loop import Loop
from projector.paging import ReadAhead
from projector.projection import Projection
from projector.shadow import BATCH_EVENTS, Report, Shadow, building, built_for_proof
from readmodel.base import parked_of

# A verdict keeps this many differences, so a table that is wrong everywhere still fits into memory.
DIFFERENCES_MAX = 10_000
# How often the session that holds the live tables is heard of. PostgreSQL ends one that stands still for 5 seconds.
AWAKE_SECONDS = 1.0

# Of a parked stream only its place counts: the error and the time may differ.
PARKED_COLUMNS = ("stream", "position", "version", "type", "skipped")


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
    """The result of a verify: the position, the counts, how many differences were `found`, and the first of them.

    That the `parked` streams have to be parked is a part of the proof.
    """

    projection: str
    position: int
    parked: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    found: int = 0
    differences: list[Difference] = field(default_factory=list)

    def add(self, differences: Iterable[Difference]) -> None:
        """Count the differences, and keep them up to DIFFERENCES_MAX."""
        for it in differences:
            self.found += 1
            if self.found <= DIFFERENCES_MAX:
                self.differences.append(it)


def verify(database_url: str, projection: Projection, report: Report) -> Verdict:
    """Compare every row and column. Raises Busy, OtherVersion and psycopg.Error."""
    proof = built_for_proof(projection)
    with building(database_url, projection) as connection:
        live = Loop(projection)
        live.look(connection)
        with (
            ReadAhead(database_url, projection) as ahead,
            Shadow(connection, projection, proof, read_page=ahead.page, logged=False) as shadow,
            connect(database_url, settings=READS) as snapshot,
        ):
            # Up to where the live tables are, not to the end of the log: they may be behind it, and never go back.
            shadow.fill(report, lambda: live.look(connection).position)
            # Comparing takes as long as it takes; this connection holds no lock that another session waits for.
            snapshot.execute("SET idle_in_transaction_session_timeout = 0")
            snapshot.isolation_level = IsolationLevel.REPEATABLE_READ
            with snapshot.transaction():
                verdict = Verdict(
                    projection.name, _same_position(database_url, projection, connection, shadow, snapshot)
                )
                for table in projection.plain_tables:
                    verdict.rows[str(table.name)] = _count(snapshot, projection.name, table)
                    verdict.add(_differences(snapshot, projection.name, proof, table))
                parked = parked_of(projection.metadata)
                verdict.parked = _count(snapshot, projection.name, parked, "NOT skipped")
                verdict.add(_differences(snapshot, projection.name, proof, parked, PARKED_COLUMNS))
        checkpoint = sql.Identifier(projection.name, "checkpoint")
        verifications.record(connection, projection.name, checkpoint, verdict.position, verdict.found)
    return verdict


def _same_position(
    database_url: str, projection: Projection, connection: Connection, shadow: Shadow, snapshot: Connection
) -> int:
    """Hold the live tables at their position, bring the fold there, and begin the snapshot that sees both."""
    position = sql.SQL("SELECT position FROM {}").format(sql.Identifier(projection.name, "checkpoint"))
    with connect(database_url) as gate, gate.transaction():
        held: int = only_row(gate.execute(position + sql.SQL(" FOR UPDATE")).fetchone())[0]
        with _awake(gate):
            while shadow.loop.project(connection, BATCH_EVENTS, until=held).events:
                pass
            # The serving tables have foreign keys: they have parked such a stream.
            shadow.park_orphans()
            shadow.apply_skips()
        seen = snapshot.execute(position).fetchone()
        # Fails if PostgreSQL has ended the session of the gate, because this process was stopped for too long.
        gate.execute("SELECT")
        assert seen == (held,), "the live tables stand still while the gate is held"
    return held


@contextmanager
def _awake(gate: Connection) -> Iterator[None]:
    """Have PostgreSQL hear of the session while others work: on a busy machine, or of large tables, that takes long."""
    has_ended = threading.Event()

    def ask() -> None:
        with suppress(psycopg.Error):  # which the next statement of the session raises as well
            while not has_ended.wait(AWAKE_SECONDS):
                gate.execute("SELECT")

    asking = threading.Thread(target=ask, name="gate", daemon=True)
    asking.start()
    try:
        yield
    finally:
        has_ended.set()
        asking.join()


def _count(snapshot: Connection, schema: str, table: Table, which: LiteralString = "true") -> int:
    counted = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(sql.Identifier(schema, table.name), sql.SQL(which))
    ((count,),) = snapshot.execute(counted).fetchall()
    return int(count)


def _differences(
    snapshot: Connection, schema: str, proof_schema: str, table: Table, columns: Sequence[str] | None = None
) -> Iterator[Difference]:
    # Names that SQLAlchemy gives are a kind of text that JSON encoders do not know.
    keys = [str(column.name) for column in table.primary_key]
    columns = columns or [str(column.name) for column in table.columns]
    # Compared as text: 2.5 for 2.50 is a difference, though the numbers are equal.
    statement = sql.SQL(
        "SELECT to_json(live)::text, to_json(proof)::text "
        "FROM (SELECT {columns} FROM {live}) AS live FULL JOIN (SELECT {columns} FROM {proof}) AS proof USING ({keys}) "
        "WHERE live::text IS DISTINCT FROM proof::text ORDER BY {keys}"
    ).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        live=sql.Identifier(schema, table.name),
        proof=sql.Identifier(proof_schema, table.name),
        keys=sql.SQL(", ").join(map(sql.Identifier, keys)),
    )
    # Row by row: tables that differ everywhere need not fit into memory as well.
    for texts in snapshot.cursor().stream(statement):
        live, proof = (decode(text) if text else None for text in texts)
        yield from differences_of(table, columns, live, proof)


def differences_of(
    table: Table, columns: Sequence[str], live: Mapping[str, Any] | None, proof: Mapping[str, Any] | None
) -> Iterator[Difference]:
    """The columns in which a row of `table` differs from the proof. None: there is, or should be, no row."""
    if live == proof:
        return
    row = live or proof or {}
    key = {str(column.name): row[column.name] for column in table.primary_key}
    if live is None or proof is None:
        yield Difference(str(table.name), key, None, live, proof)
        return
    for column in columns:
        if live[column] != proof[column]:
            yield Difference(str(table.name), key, column, live[column], proof[column])


# A row as PostgreSQL has made JSON of it. Numbers stay as they are written, for the same reason.
decode = json.JSONDecoder(parse_float=str).decode
