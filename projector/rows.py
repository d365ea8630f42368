"""The row changes that a batch of events makes: collected per row, then written with one statement for each table.

A handler says `insert`, `set` or `add`; it runs no SQL. A row that a batch inserts and changes is written once.
`add` is safe to repeat after a crash, because rows and checkpoint commit together.
"""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection, sql
from sqlalchemy import Table
from sqlalchemy.orm import DeclarativeBase

from eventlog import arrays
from readmodel.base import DIALECT, table_of

Key = Hashable
Mapped = type[DeclarativeBase]

# Rows of one COPY: many, so that a call costs little for each; few, so that PostgreSQL writes while Python goes on.
_COPY_ROWS = 1_000

_json = msgspec.json.Encoder().encode


class RowMissing(Exception):
    """A row that has to be changed is not there."""


class WrongColumns(Exception):
    """A handler inserts a row that has not exactly the columns of its table, in their order."""


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


@cache
def _described(table: Table) -> tuple[str, tuple[str, ...], tuple[str, ...], dict[str, str]]:
    """A table's name, its columns, those of its primary key, and the types of all."""
    columns = tuple(str(column.name) for column in table.columns)
    types = {str(column.name): column.type.compile(dialect=DIALECT) for column in table.columns}
    return str(table.name), columns, tuple(str(column.name) for column in table.primary_key), types


class _Sums(NamedTuple):
    """What is added to one row, and the smallest and greatest values that it has to keep."""

    sums: dict[str, Any]
    least: dict[str, Any]
    greatest: dict[str, Any]


class Changes:
    """The changes of one batch to one table: rows `inserted`, columns `changed`, and what was `added`, by key.

    A key is a row's primary key: one value, or a tuple of values.
    """

    def __init__(self, table: Table) -> None:
        self._name, self.columns, self._key, self._types = _described(table)
        self.inserted: dict[Key, dict[str, Any]] = {}
        self.changed: dict[Key, dict[str, Any]] = {}
        self.added: dict[Key, _Sums] = {}

    def insert(self, row: dict[str, Any]) -> None:
        """A new row."""
        if tuple(row) != self.columns:
            raise WrongColumns(
                f"a row for {self._name} has the columns {', '.join(row)}; {', '.join(self.columns)} are due"
            )
        key = self._key
        self.inserted[row[key[0]] if len(key) == 1 else tuple([row[name] for name in key])] = row

    def set(self, key: Key, columns: Mapping[str, Any]) -> None:
        """New values of some columns of a row that is there."""
        row = self.inserted.get(key) or self.changed.get(key)
        if row is None:
            self.changed[key] = dict(columns)
        else:
            row.update(columns)

    def add(
        self, key: Key, sums: Mapping[str, Any], least: Mapping[str, Any] = {}, greatest: Mapping[str, Any] = {}
    ) -> None:
        """Add to the columns in `sums`; keep the smallest value of those in `least`, the greatest in `greatest`."""
        row = self.added.get(key)
        if row is None:
            self.added[key] = _Sums(dict(sums), dict(least), dict(greatest))
            return
        added = row.sums
        for name, value in sums.items():
            try:
                added[name] += value
            except KeyError:
                added[name] = value
        for name, value in least.items():
            row.least[name] = min(row.least.get(name, value), value)
        for name, value in greatest.items():
            row.greatest[name] = max(row.greatest.get(name, value), value)

    def take_new(self) -> NewRows:
        """The new rows, which are forgotten here."""
        taken, self.inserted = self.inserted, {}
        return NewRows(self._name, self.columns, taken.values())

    def write_changed(self, connection: Connection, schema: str) -> None:
        """Write the changed rows and the sums, and forget them. The new rows must have been written."""
        if self.changed:
            for columns, rows in self._by_columns():
                self._update(connection, schema, columns, rows)
            self.changed.clear()
        if self.added:
            for kinds, rows in self._by_kinds():
                self._upsert(connection, schema, kinds, rows)
            self.added.clear()

    def _by_columns(self) -> Iterator[tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
        """Rows whose same columns change go into one statement: (columns, [key values + new values])."""
        groups: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for key, values in self.changed.items():
            groups.setdefault(tuple(values), []).append((*_values(key), *values.values()))
        yield from groups.items()

    def _by_kinds(self) -> Iterator[tuple[tuple[tuple[str, ...], ...], list[tuple[Any, ...]]]]:
        """Rows that add to the same columns go into one statement: ((sums, least, greatest), [key values + values])."""
        groups: dict[tuple[tuple[str, ...], ...], list[tuple[Any, ...]]] = {}
        for key, row in self.added.items():
            values = [value for part in row for value in part.values()]
            groups.setdefault(tuple(map(tuple, row)), []).append((*_values(key), *values))
        yield from groups.items()

    def _update(
        self, connection: Connection, schema: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        statement = sql.SQL("UPDATE {table} AS row SET {settings} FROM {new} WHERE {same_key}").format(
            table=sql.Identifier(schema, self._name),
            settings=_listed("{0} = new.{0}", columns),
            new=self._unnested([*self._key, *columns]),
            same_key=sql.SQL(" AND ").join(sql.SQL("row.{0} = new.{0}").format(sql.Identifier(it)) for it in self._key),
        )
        changed = connection.execute(statement, _arrays(rows)).rowcount
        if changed != len(rows):
            raise RowMissing(f"{len(rows) - changed} of the rows to change are not in {self._name}")

    def _upsert(
        self, connection: Connection, schema: str, kinds: Sequence[Sequence[str]], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        sums, least, greatest = kinds
        names = [*self._key, *sums, *least, *greatest]
        parts = (
            ("{0} = row.{0} + excluded.{0}", sums),
            ("{0} = least(row.{0}, excluded.{0})", least),
            ("{0} = greatest(row.{0}, excluded.{0})", greatest),
        )
        statement = sql.SQL(
            "INSERT INTO {table} AS row ({names}) SELECT {names} FROM {new} "
            "ON CONFLICT ({key}) DO UPDATE SET {settings}"
        ).format(
            table=sql.Identifier(schema, self._name),
            names=_listed("{0}", names),
            new=self._unnested(names),
            key=_listed("{0}", self._key),
            settings=sql.SQL(", ").join(_listed(template, columns) for template, columns in parts if columns),
        )
        connection.execute(statement, _arrays(rows))

    def _unnested(self, names: Sequence[str]) -> sql.Composed:
        """Arrays of text as rows with the types of the columns."""
        texts = sql.SQL(", ").join(sql.SQL("%b::text[]::{}[]").format(sql.SQL(self._types[name])) for name in names)
        return sql.SQL("unnest({}) AS new ({})").format(texts, _listed("{0}", names))


class Rows:
    """The changes of one batch to the tables of a projection, which come in the order that foreign keys ask for."""

    def __init__(self, tables: Iterable[Mapped]) -> None:
        self._of = {mapped: Changes(table_of(mapped)) for mapped in tables}

    def insert(self, table: Mapped, row: dict[str, Any]) -> None:
        """Insert `row`, which has all columns of the table, in the order of the class."""
        self._of[table].insert(row)

    def set(self, table: Mapped, key: Key, columns: Mapping[str, Any]) -> None:
        """Set some columns of the row with this primary key, which must be there; the last value counts."""
        self._of[table].set(key, columns)

    def add(
        self,
        table: Mapped,
        key: Key,
        sums: Mapping[str, Any],
        least: Mapping[str, Any] = {},
        greatest: Mapping[str, Any] = {},
    ) -> None:
        """Add numbers to columns of the row with this primary key, which is made if it is not there.

        The columns in `least` keep the smallest value, those in `greatest` the greatest. All other columns outside the
        primary key need a default in the database.
        """
        self._of[table].add(key, sums, least, greatest)

    def of(self, table: Mapped) -> Changes:
        """The changes to one table."""
        return self._of[table]

    def write(self, connection: Connection, schema: str) -> None:
        """Write all changes and forget them. Raises psycopg.Error and RowMissing."""
        write_new(self.take_new(), connection, schema)
        for changes in self._of.values():
            changes.write_changed(connection, schema)

    def take_new(self) -> list[NewRows]:
        """The new rows alone, to be written now. Changed rows wait: of several changes only the last counts."""
        return [changes.take_new() for changes in self._of.values()]


def write_new(new: Iterable[NewRows], connection: Connection, schema: str) -> None:
    """Write what `Rows.take_new` returned."""
    for rows in new:
        rows.write(connection, schema)


def _values(key: Key) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _listed(template: str, names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL(template).format(sql.Identifier(name)) for name in names)


def _arrays(rows: Sequence[tuple[Any, ...]]) -> list[arrays.Array]:
    """Rows as one array of texts for each column."""
    return [arrays.of_nullable_text(map(_text, values)) for values in zip(*rows, strict=True)]


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
