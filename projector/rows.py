"""What a batch of events makes of the read tables: changes collected per row, then one statement a table.

A projection says `insert` and `set`; it runs no SQL. A row that is inserted and changed in one batch is written once.
"""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection, sql
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from eventlog import arrays
from readmodel import tables

Key = Hashable

# Rows that go out together: enough to be worth a call, few enough to be written while the next are made.
_COPY_ROWS = 1_000

_json = msgspec.json.Encoder().encode
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


class RowMissing(Exception):
    """A row that is to be changed is not there."""


class NewRows(NamedTuple):
    """Rows that one table does not have yet, each with all of `columns`."""

    table: str
    columns: Sequence[str]
    rows: Collection[dict[str, Any]]

    def write(self, connection: Connection, schema: str) -> None:
        """Write them."""
        if not self.rows:
            return
        statement = sql.SQL(r"COPY {} ({}) FROM STDIN (FORMAT csv, ESCAPE '\', NULL 'null', ENCODING 'UTF8')").format(
            sql.Identifier(schema, self.table), sql.SQL(", ").join(map(sql.Identifier, self.columns))
        )
        with connection.cursor().copy(statement) as copy:
            rows = iter(self.rows)
            while some := [list(row.values()) for row in islice(rows, _COPY_ROWS)]:
                copy.write(_csv(some))


class Changes:
    """The changes of one batch to one table. Keys are a row's primary key: a text, or a tuple of values."""

    def __init__(self, table: Table) -> None:
        self.columns = tuple(column.name for column in table.columns)
        self._name = table.name
        self._types = {column.name: column.type.compile(dialect=_DIALECT) for column in table.columns}
        self._key = tuple(column.name for column in table.primary_key)
        self._inserted: dict[Key, dict[str, Any]] = {}
        self._set: dict[Key, dict[str, Any]] = {}

    def insert(self, key: Key, row: dict[str, Any]) -> None:
        """A new row; `row` has all columns, in the table's order."""
        self._inserted[key] = row

    def set(self, key: Key, columns: Mapping[str, Any]) -> None:
        """New values of some columns of a row that is there."""
        row = self._inserted.get(key) or self._set.get(key)
        if row is None:
            self._set[key] = dict(columns)
        else:
            row.update(columns)

    def take_new(self) -> NewRows:
        """The new rows, which are forgotten here."""
        taken, self._inserted = self._inserted, {}
        return NewRows(self._name, self.columns, taken.values())

    def write_changed(self, connection: Connection, schema: str) -> None:
        """Write the changed rows and forget them; the new ones have to be written by then."""
        if self._set:
            for columns, rows in self._by_columns():
                self._update(connection, schema, columns, rows)
            self._set.clear()

    def _by_columns(self) -> Iterator[tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
        """Rows whose same columns change go into one statement: (columns, [key values + new values])."""
        groups: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for key, values in self._set.items():
            key_values = key if isinstance(key, tuple) else (key,)
            groups.setdefault(tuple(values), []).append((*key_values, *values.values()))
        yield from groups.items()

    def _update(
        self, connection: Connection, schema: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        names = [*self._key, *columns]
        statement = sql.SQL(
            "UPDATE {table} AS row SET {settings} FROM unnest({arrays}) AS new ({names}) WHERE {same_key}"
        ).format(
            table=sql.Identifier(schema, self._name),
            settings=sql.SQL(", ").join(sql.SQL("{0} = new.{0}").format(sql.Identifier(name)) for name in columns),
            arrays=sql.SQL(", ").join(sql.SQL("%b::text[]::{}[]").format(sql.SQL(self._types[name])) for name in names),
            names=sql.SQL(", ").join(map(sql.Identifier, names)),
            same_key=sql.SQL(" AND ").join(sql.SQL("row.{0} = new.{0}").format(sql.Identifier(it)) for it in self._key),
        )
        columns_of_values = zip(*rows, strict=True)
        values = [arrays.of_nullable_text(map(_text, values)) for values in columns_of_values]
        changed = connection.execute(statement, values).rowcount
        if changed != len(rows):
            raise RowMissing(f"{len(rows) - changed} of the rows to change are not in {self._name}")


class Rows:
    """The changes of one batch to all read tables, in the order that foreign keys ask for."""

    def __init__(self) -> None:
        self.users = Changes(tables.users)
        self.products = Changes(tables.products)
        self.orders = Changes(tables.orders)
        self.order_items = Changes(tables.order_items)

    def write(self, connection: Connection, schema: str) -> None:
        """Write all changes and forget them."""
        write_new(self.take_new(), connection, schema)
        for changes in self._tables():
            changes.write_changed(connection, schema)

    def take_new(self) -> list[NewRows]:
        """The new rows alone, to be written now: they are many, while of one that changes often only the end counts."""
        return [changes.take_new() for changes in self._tables()]

    def _tables(self) -> tuple[Changes, ...]:
        return (self.users, self.products, self.orders, self.order_items)


def write_new(new: Iterable[NewRows], connection: Connection, schema: str) -> None:
    """Write what `Rows.take_new` returned."""
    for rows in new:
        rows.write(connection, schema)


def _text(value: object) -> str | None:
    """A value as PostgreSQL reads it from text; None is null."""
    return value if value is None or value.__class__ is str else str(value)


def _csv(rows: list[list[object]]) -> bytes:
    """Rows in COPY's CSV format, with a backslash for its escape and a bare `null` for its null.

    Sources: PostgreSQL's documentation of COPY, "CSV Format"; RFC 8259. An array in JSON is such a row already: texts
    in quotes, with a backslash before quotes and backslashes, all else without. So the rows are encoded together, which
    takes less time than value by value. Where JSON escapes other characters, or a text has in it what is between rows,
    that is done all the same.
    """
    encoded = _json(rows)
    has_other_escapes = b"\\" in encoded.replace(rb"\\", b"").replace(rb"\"", b"")
    if has_other_escapes or encoded.count(b"],[") != len(rows) - 1:
        return "".join(",".join(map(_csv_value, row)) + "\n" for row in rows).encode()
    return encoded[2:-2].replace(b"],[", b"\n") + b"\n"


def _csv_value(value: object) -> str:
    if value is None:
        return "null"
    return '"' + str(value).replace("\\", r"\\").replace('"', r"\"") + '"'
