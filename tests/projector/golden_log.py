"""Golden logs: the stored events of a small real shop, and the read tables that follow from them.

A log that was once recorded is somebody's log: its files are never changed. When an event type or a schema version is
new, let the shop below meet it, and record another log beside the old ones:

    .venv/bin/python -m tests.projector.golden_log
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from psycopg import Connection, sql

from projector.connecting import connect
from projector.loop import Loop
from projector.projections.shop import SHOP
from service.embedded import PostgresServer
from service.migrate import upgrade
from tests.builders import Writing
from tests.projector.read_tables import KEYS, TABLES

GOLDEN = Path(__file__).parent / "golden"
FOLDER = Path(__file__).parents[1] / "fixtures" / "shop"

_EVENTS = b"""
SELECT position, stream, version, type, schema_version, occurred_at::text, recorded_at::text, data::text, metadata::text
FROM log.events ORDER BY position
"""
_STORE = f"""
INSERT INTO log.events
    (position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata)
VALUES ({", ".join(["%s"] * 9)})
"""
# A table's rows, each as PostgreSQL's JSON of it.
Tables = dict[str, list[dict[str, Any]]]

_HEAD = "UPDATE log.head SET position = %s, recorded_at = %s"


class Stored(msgspec.Struct, array_like=True, frozen=True):
    """A row of log.events; `data` and `metadata` are the bytes as they are in the log."""

    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    data: str
    metadata: str


def recorded() -> list[int]:
    """The numbers of the golden logs."""
    return sorted(int(path.name.removesuffix(".log.jsonl")) for path in GOLDEN.glob("*.log.jsonl"))


def stored(number: int) -> list[Stored]:
    return [msgspec.json.decode(line, type=Stored) for line in _lines(number, "log")]


def stored_tables(number: int) -> Tables:
    found: Tables = {table: [] for table in TABLES}
    for table, row in map(_decode, _lines(number, "tables")):
        found[table].append(row)
    return found


def load(connection: Connection, number: int) -> None:
    """Put a golden log into a database whose log is empty, as a restore would."""
    events = stored(number)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(_STORE, [msgspec.structs.astuple(event) for event in events])
        cursor.execute(_HEAD, (events[-1].position, events[-1].recorded_at))


def tables(connection: Connection) -> Tables:
    """What the read tables hold now, in the order of their keys."""
    return {table: [_decode(row) for row in _rows(connection, table)] for table in TABLES}


def record(number: int, database_url: str) -> None:
    """Write down the log of this database, and its read tables. Refuses to change what was recorded before."""
    with connect(database_url) as connection:
        while Loop(SHOP).project(connection, 100_000).events:
            pass
        with (GOLDEN / f"{number}.log.jsonl").open("xb") as file:
            file.writelines(msgspec.json.encode(event) + b"\n" for event in connection.execute(_EVENTS))
        with (GOLDEN / f"{number}.tables.jsonl").open("x") as file:
            file.writelines(f'["{table}",{row}]\n' for table in TABLES for row in _rows(connection, table))


def keep_a_shop(database_url: str, directory: Path) -> None:
    """Everything that can happen in a shop, through the rules: an import, and orders over the counter."""
    subprocess.run(
        [sys.executable, "-P", "-m", "service.cli", "import", str(FOLDER), "--currency", "EUR"],
        env={"PATH": os.defpath, "DATABASE_URL": database_url},
        cwd=directory,
        check=True,
    )
    with Writing(database_url) as writing:
        writing.history(orders=12)
        user = writing.user(name="Zoë 東京 \U0001f9fe \"'\\/\t\x7f", email="Zoë@example.org")
        lower, upper = (writing.product(sku=sku, price=Decimal("0.125"), stock=3) for sku in ("cup", "CUP"))
        postage = writing.product(sku="postage", name="Postage ", stock=None, price=Decimal("999999999999.9999"))
        order = writing.order(user, {upper: 3, lower: 1}, note="leave it at the door")
        for line in (1, 2):
            writing.cancel(order, {line: 1}, "too many")
        writing.cancel(order)
        writing.order(user, {lower: 2, postage: 1})
        writing.adjust_stock(upper, -3, "broken")
        writing.delete_user(user)


def _lines(number: int, kind: str) -> list[str]:
    # Not splitlines(): that also breaks at some characters that JSON leaves as they are.
    return (GOLDEN / f"{number}.{kind}.jsonl").read_text().removesuffix("\n").split("\n")


def _rows(connection: Connection, table: str) -> Iterator[str]:
    statement = sql.SQL("SELECT to_json(row)::text FROM {} AS row ORDER BY {}").format(
        sql.Identifier("shop", table), sql.SQL(KEYS.get(table, "id"))
    )
    for (row,) in connection.execute(statement):
        yield row


# Numbers stay as they are written: 2.5 for 2.50 would be another price.
_decode = json.JSONDecoder(parse_float=str).decode


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        with PostgresServer(Path(place)) as server:
            upgrade(server.url)
            keep_a_shop(server.url, Path(place))
            record(max(recorded(), default=0) + 1, server.url)
