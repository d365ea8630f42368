"""What a mirror's database allows: the rows of a mirror that is filled, by the driver's plain executemany."""

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import text

from projector.mirror.targets import target_of
from projector.projection import Projection

ROWS_AT_ONCE = 20_000


def seconds_for_rows(filled_url: str, empty_url: str, projection: Projection) -> float:
    """Insert the rows that the mirror at `filled_url` has into tables at `empty_url`, with the same keys and indexes.

    A transaction has as many rows of a table as a batch of the mirror has events. Each row is written once, as it is in
    the end, and nothing is read, folded or converted: no mirror by executemany can be faster.
    """
    filled, empty = target_of(filled_url), target_of(empty_url)
    try:
        with empty.writing() as connection:
            with connection.begin():
                empty.check(connection)
            layout = empty.layout(projection)
            with connection.begin():
                empty.create(connection, layout)
            mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
            parts = []
            for name, table in layout.tables.items():
                marks = ", ".join([mark] * len(table.columns))
                with filled.engine.connect() as reading:
                    rows = [tuple(row) for row in reading.execute(text(f"SELECT * FROM {name}"))]  # noqa: S608 - names of ours
                parts.append((f"INSERT INTO {name} VALUES ({marks})", rows))  # noqa: S608 - names of ours
            began = time.monotonic()
            for statement, rows in parts:
                for some in _in_parts(rows):
                    with connection.begin():
                        connection.exec_driver_sql(statement, some)
            return time.monotonic() - began
    finally:
        filled.close()
        empty.close()


def _in_parts(rows: Sequence[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    left = iter(rows)
    while some := list(islice(left, ROWS_AT_ONCE)):
        yield some
