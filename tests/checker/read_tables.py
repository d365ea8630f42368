"""Whether the read tables are the fold of the log up to their checkpoint: every row, every column."""

from collections.abc import Iterator

from tests.checker.fold import Fold
from tests.checker.snapshot import Row, Snapshot


def read_table_findings(taken: Snapshot, folded: Fold) -> Iterator[str]:
    if taken.checkpoint > taken.head:
        yield f"the checkpoint is {taken.checkpoint}, behind the head {taken.head}"
    for kind in ("user", "product", "order"):
        table = f"{kind}s"
        wanted = {}
        for stream in folded.streams_of(kind):
            row = folded.state(stream, taken.checkpoint)
            if row is not None:
                wanted[row["id"]] = row
        yield from _compared(table, {str(row["id"]): row for row in taken.tables[table]}, wanted)
        if kind == "order":
            items = {
                (row["id"], item["line"]): {"order_id": row["id"], "placed_at": row["placed_at"]} | item
                for row in wanted.values()
                for item in row["items"]
            }
            found = {(str(row["order_id"]), row["line"]): row for row in taken.tables["order_items"]}
            yield from _compared("order_items", found, items)


def _compared(
    table: str, found: dict[object, Row] | dict[str, Row], wanted: dict[object, Row] | dict[str, Row]
) -> Iterator[str]:
    for key in found.keys() | wanted.keys():
        there, should = found.get(key), wanted.get(key)
        if should is None:
            yield f"shop.{table} has a row {key}, which the log does not have"
            continue
        if there is None:
            yield f"shop.{table} has no row {key}, which the log has"
            continue
        for column in should.keys() - {"items"}:
            if _text(there.get(column)) != _text(should[column]):
                yield f"shop.{table} {key} has {column} {there.get(column)}, the log says {should[column]}"


def _text(value: object) -> str | None:
    return None if value is None else str(value)
