"""The row changes that a batch of events makes: collected per row, then written with a few statements for each table.

A handler says `insert`, `set` or `add`; it runs no SQL. A row that a batch inserts and changes is written once.
`add` is safe to repeat after a crash, because rows and checkpoint commit together.
"""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import msgspec
from psycopg import Connection, sql
from sqlalchemy import Table
from sqlalchemy.orm import DeclarativeBase

from database.sessions import Unsuitable
from readmodel.base import table_of

Key = Hashable
Mapped = type[DeclarativeBase]
Named = tuple[str, ...]
Columns = Mapping[str, Any]
NONE: Columns = MappingProxyType({})
Keyed = list[tuple[Key, Columns]]

_encode = msgspec.json.Encoder().encode


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
        if self.rows:
            statement = _insert(schema, self.table, tuple(self.columns))
            _refuse_lost(connection.execute(statement, (_json(list(self.rows)),)).rowcount, len(self.rows), self.table)


class _Sums(NamedTuple):
    """The numbers to add to one row, and the smallest and greatest values that it has to keep."""

    sums: dict[str, Any]
    least: dict[str, Any]
    greatest: dict[str, Any]


class Changes:
    """The changes of one batch to one table: rows `inserted`, columns `changed`, and what was `added`, by key.

    A key is a row's primary key: one value, or a tuple of values.
    """

    def __init__(self, table: Table) -> None:
        self.name = str(table.name)
        self.columns = tuple(str(column.name) for column in table.columns)
        self.key = tuple(str(column.name) for column in table.primary_key)
        self.inserted: dict[Key, dict[str, Any]] = {}
        self.changed: dict[Key, dict[str, Any]] = {}
        self.added: dict[Key, _Sums] = {}

    def clear(self) -> None:
        self.inserted.clear()
        self.changed.clear()
        self.added.clear()

    def take_new(self) -> NewRows:
        """The new rows, which are forgotten here."""
        taken, self.inserted = self.inserted, {}
        return NewRows(self.name, self.columns, taken.values())

    def write_changed(self, connection: Connection, schema: str) -> None:
        """Write the changed rows and the sums, and forget them. The new rows must have been written."""
        for columns, rows in self.by_columns():
            statement = _update(schema, self.name, self.key, columns)
            changed = connection.execute(statement, (self._documents(rows),)).rowcount
            if changed != len(rows):
                raise RowMissing(f"{len(rows) - changed} of the rows to change are not in {self.name}")
        self.changed.clear()
        for kinds, sums in self.by_kinds():
            statement = _upsert(schema, self.name, self.key, *kinds)
            _refuse_lost(connection.execute(statement, (self._documents(sums),)).rowcount, len(sums), self.name)
        self.added.clear()

    def by_columns(self) -> Iterator[tuple[Named, Keyed]]:
        """The changed rows, grouped by the columns that change: one statement takes a group."""
        groups: dict[Named, Keyed] = {}
        for key, row in self.changed.items():
            groups.setdefault(tuple(row), []).append((key, row))
        yield from groups.items()

    def by_kinds(self) -> Iterator[tuple[tuple[Named, Named, Named], Keyed]]:
        """The added rows, grouped by their columns (sums, least, greatest): one statement takes a group."""
        groups: dict[tuple[Named, Named, Named], Keyed] = {}
        for key, (sums, least, greatest) in self.added.items():
            kinds = (tuple(sums), tuple(least), tuple(greatest))
            groups.setdefault(kinds, []).append((key, {**sums, **least, **greatest}))
        yield from groups.items()

    def _documents(self, rows: Iterable[tuple[Key, Columns]]) -> str:
        """Rows as a JSON array of objects, each with its key. PostgreSQL reads every value from its text."""
        name = self.key[0]
        if len(self.key) == 1:
            return _json([{name: key, **row} for key, row in rows])
        return _json([{**dict(zip(self.key, cast("tuple[Any, ...]", key), strict=True)), **row} for key, row in rows])


class Rows:
    """The changes of one batch to the tables of a projection, which come in the order that foreign keys ask for."""

    def __init__(self, tables: Iterable[Mapped]) -> None:
        self._of = {mapped: Changes(table_of(mapped)) for mapped in tables}

    def insert(self, table: Mapped, row: dict[str, Any]) -> None:
        """Insert `row`, which has all columns of the table, in the order of the class."""
        changes = self._of[table]
        if tuple(row) != changes.columns:
            raise WrongColumns(
                f"a row for {changes.name} has the columns {', '.join(row)}; {', '.join(changes.columns)} are due"
            )
        key = changes.key
        changes.inserted[row[key[0]] if len(key) == 1 else tuple([row[name] for name in key])] = row

    def set(self, table: Mapped, key: Key, columns: Columns) -> None:
        """Set some columns of the row with this primary key, which must be there; the last value counts."""
        changes = self._of[table]
        row = changes.inserted.get(key) or changes.changed.get(key)
        if row is None:
            changes.changed[key] = dict(columns)
        else:
            row.update(columns)

    def add(self, table: Mapped, key: Key, sums: Columns, least: Columns = NONE, greatest: Columns = NONE) -> None:
        """Add numbers to columns of the row with this primary key, which is made if it is not there.

        The columns in `least` keep the smallest value, those in `greatest` the greatest. All other columns outside the
        primary key need a default in the database.
        """
        rows = self._of[table].added
        row = rows.get(key)
        if row is None:
            rows[key] = _Sums(dict(sums), dict(least), dict(greatest))
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

    def of(self, table: Mapped) -> Changes:
        return self._of[table]

    @property
    def changed(self) -> int:
        """How many rows are changed or added to."""
        return sum(len(it.changed) + len(it.added) for it in self._of.values())

    def take(self, later: "Rows") -> None:
        """Take over changes that come after these."""
        for table, changes in later._of.items():  # noqa: SLF001 - of the same class
            self._of[table].inserted.update(changes.inserted)
            for key, columns in changes.changed.items():
                self.set(table, key, columns)
            for key, sums in changes.added.items():
                self.add(table, key, *sums)

    def clear(self) -> None:
        for changes in self._of.values():
            changes.clear()

    def write(self, connection: Connection, schema: str) -> None:
        """Write all changes and forget them. Raises psycopg.Error and RowMissing."""
        for new in self.take_new():
            new.write(connection, schema)
        for changes in self._of.values():
            changes.write_changed(connection, schema)

    def take_new(self) -> list[NewRows]:
        """The new rows alone, to be written now. Changed rows wait: of several changes only the last counts."""
        return [changes.take_new() for changes in self._of.values()]


def _refuse_lost(taken: int, rows: int, table: str) -> None:
    """Raise Unsuitable if the database has dropped rows without an error: no event is to blame."""
    if taken != rows:
        raise Unsuitable(f"{table} took {taken} of {rows} rows: drop the rule or the trigger on it that drops rows")


def _json(rows: list[Any]) -> str:
    return _encode(rows).decode()


# The statements take their rows as one JSON array, and PostgreSQL gives them the types of the table. Composing a
# statement takes as long as sending it, so each is composed once.


@cache
def _insert(schema: str, table: str, columns: Named) -> bytes:
    return _composed("INSERT INTO {table} ({columns}) SELECT {columns} FROM {new}", schema, table, columns=columns)


@cache
def _update(schema: str, table: str, key: Named, columns: Named) -> bytes:
    statement = "UPDATE {table} AS row SET {settings} FROM {new} WHERE {same_key}"
    same_key = sql.SQL(" AND ").join([sql.SQL("row.{0} = new.{0}").format(sql.Identifier(it)) for it in key])
    return _composed(statement, schema, table, settings=_listed("{0} = new.{0}", columns), same_key=same_key)


@cache
def _upsert(schema: str, table: str, key: Named, sums: Named, least: Named, greatest: Named) -> bytes:
    parts = (
        ("{0} = row.{0} + excluded.{0}", sums),
        ("{0} = least(row.{0}, excluded.{0})", least),
        ("{0} = greatest(row.{0}, excluded.{0})", greatest),
    )
    settings = sql.SQL(", ").join([_listed(template, columns) for template, columns in parts if columns])
    insert = "INSERT INTO {table} AS row ({columns}) SELECT {columns} FROM {new}"
    columns = (*key, *sums, *least, *greatest)
    statement = insert + " ON CONFLICT ({key}) DO UPDATE SET {settings}"
    return _composed(statement, schema, table, columns=columns, key=key, settings=settings)


def _composed(statement: str, schema: str, table: str, **parts: sql.Composable | Named) -> bytes:
    name = sql.Identifier(schema, table)
    new = sql.SQL("json_populate_recordset(NULL::{}, %s::json) AS new").format(name)
    listed = {name: _listed("{0}", it) if isinstance(it, tuple) else it for name, it in parts.items()}
    return sql.SQL(statement).format(table=name, new=new, **listed).as_bytes()


def _listed(template: str, names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join([sql.SQL(template).format(sql.Identifier(name)) for name in names])
