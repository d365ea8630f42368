"""What a batch of events makes of the read tables: changes collected per row, then one statement a table.

A projection says `insert` and `set`; it runs no SQL. A row that is inserted and changed in one batch is written once.
"""

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from psycopg import Connection, sql
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from eventlog import arrays
from readmodel import tables

Key = Hashable

# Stands for null in COPY's text format. The usual one has a backslash in it, and would look like a text to escape.
_NULL = "\x02"
# What ends a value, a row, or is taken for null or for an escape in COPY's text format, and how it is written instead.
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", _NULL: f"\\{_NULL}"}
_SPECIAL = re.compile("[" + re.escape("".join(_ESCAPES)) + "]")
# Rows that go out together: enough to be worth a call, few enough to be written while the next are made.
_COPY_ROWS = 1_000

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
        statement = sql.SQL("COPY {} ({}) FROM STDIN (NULL {})").format(
            sql.Identifier(schema, self.table), sql.SQL(", ").join(map(sql.Identifier, self.columns)), _NULL
        )
        with connection.cursor().copy(statement) as copy:
            rows = iter(self.rows)
            while lines := [_copy_line(list(row.values())) for row in islice(rows, _COPY_ROWS)]:
                copy.write("\n".join(lines) + "\n")


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

    def take_new(self) -> "NewRows":
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


def _copy_line(values: list[object]) -> str:
    """A row in COPY's text format.

    Source: PostgreSQL's documentation of COPY, "Text Format". Hardly any row has anything to escape, so all is joined
    first and looked at as a whole; if there is more special in it than we put there, it is done again with care.
    """
    line = "\t".join([_NULL if it is None else it if it.__class__ is str else str(it) for it in values])
    if (
        line.count("\t") == len(values) - 1
        and line.count(_NULL) == values.count(None)
        and "\\" not in line
        and "\n" not in line
        and "\r" not in line
    ):
        return line
    return "\t".join([_NULL if it is None else _SPECIAL.sub(_escape, str(it)) for it in values])


def _escape(special: re.Match[str]) -> str:
    return _ESCAPES[special[0]]
