"""The tables of a projection as a mirror has them: those of the read model, a checkpoint, and the parked streams.

Three builds can stand side by side: the serving one, the next one that a rebuild fills, and the one that it has
replaced. A target says how their tables are named and which column types it has.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import TypeEngine

from projector.projection import Projection
from readmodel.base import parked_of
from readmodel.types import TIME

# How a column is stored; the second argument says whether the column is in a key or in an index.
ColumnType = Callable[[Column[Any], bool], TypeEngine[Any]]


class Build(StrEnum):
    """Which of the builds of a table: the value is added to its name."""

    SERVING = ""
    NEXT = "__mirror_next"
    RETIRED = "__mirror_retired"


class TableName(NamedTuple):
    """The name of a table, and its schema where the database has schemas."""

    schema: str | None
    name: str


def _moved(table: Table, element: Any, **_: Any) -> Any:
    """The column of `table` that has the name of the column `element`; None for all else."""
    return table.c[element.name] if isinstance(element, Column) else None


def _where(index: Index) -> Any:
    """The condition of a partial index; None: the index has all rows."""
    return index.dialect_options["postgresql"]["where"]


class Layout:
    """The tables of one build. Where names must be unique, `generation` makes those of keys and indexes so.

    `indexes` are made after the rows (`Target.complete`), so `metadata` does not have them.
    """

    def __init__(
        self,
        projection: Projection,
        named: Callable[[Projection, str, Build], TableName],
        column_type: ColumnType,
        *,
        build: Build = Build.SERVING,
        generation: int | None = None,
        has_partial_indexes: bool = True,
        **options: Any,
    ) -> None:
        self.metadata = MetaData()
        self.indexes: list[Index] = []
        self._suffix = "" if generation is None else f"_{generation}"
        self._names: Callable[[str], TableName] = lambda name: named(projection, name, build)
        self._column_type = column_type
        self._options = options
        self._has_partial_indexes = has_partial_indexes
        self.tables = {str(table.name): self._copy(table) for table in projection.plain_tables}
        self.parked = self._copy(parked_of(projection.metadata))
        self.checkpoint = self._checkpoint()

    @property
    def all(self) -> list[Table]:
        """All tables; the checkpoint is the last, so that a build without one is known to be unfinished."""
        return [*self.tables.values(), self.parked, self.checkpoint]

    def _copy(self, table: Table) -> Table:
        place = self._names(str(table.name))
        searched = {column.name for index in table.indexes for column in index.columns}
        columns: list[Column[Any]] = [
            Column(
                str(column.name),
                self._column_type(column, column.primary_key or bool(column.foreign_keys) or column.name in searched),
                primary_key=column.primary_key,
                nullable=column.nullable,
                server_default=column.server_default,
                comment=column.comment,
                autoincrement=False,
            )
            for column in table.columns
        ]
        copy = Table(place.name, self.metadata, *columns, schema=place.schema, comment=table.comment, **self._options)
        for constraint in table.constraints:
            if isinstance(constraint, CheckConstraint):
                check = CheckConstraint(str(constraint.sqltext), name=self._unique(constraint.name))
                copy.append_constraint(check)
        for key in table.foreign_key_constraints:
            referred = self._names(str(key.referred_table.name))
            prefix = f"{referred.schema}." if referred.schema else ""
            targets = [f"{prefix}{referred.name}.{element.column.name}" for element in key.elements]
            copy.append_constraint(ForeignKeyConstraint(list(key.column_keys), targets, name=self._unique(key.name)))
        whole = [list(index.columns) for index in table.indexes if _where(index) is None]
        for index in table.indexes:
            # Without partial indexes a copy has all rows. It is of no use beside another one of the same columns.
            if _where(index) is None or self._has_partial_indexes or list(index.columns) not in whole:
                self._copy_index(index, copy)
        return copy

    def _copy_index(self, index: Index, table: Table) -> None:
        options = {}
        where = _where(index)
        if where is not None and self._has_partial_indexes:
            moved = replacement_traverse(where, {}, partial(_moved, table))
            options = {"postgresql_where": moved, "sqlite_where": moved}
        copied = Index(self._unique(index.name), *[table.c[column.name] for column in index.columns], **options)
        table.indexes.remove(copied)
        self.indexes.append(copied)

    def _unique(self, name: object) -> str:
        return f"{name}{self._suffix}"

    def _checkpoint(self) -> Table:
        place = self._names("checkpoint")
        columns: list[Column[Any]] = [
            Column("one_row", Integer, primary_key=True, autoincrement=False, comment="1: the table has one row"),
            Column("version", Integer, nullable=False, comment="of the projection that built these tables"),
            Column("generation", Integer, nullable=False, comment="how often these tables were built"),
            Column("log_uuid", Text, nullable=False, comment="of the log that they are the fold of"),
            Column("position", BigInteger, nullable=False, comment="of the last event that the tables contain"),
            Column("event", Text, nullable=False, comment="which event is at that position of the log"),
            Column("parked", Integer, nullable=False, comment="how many streams wait in the table of parked streams"),
            Column("parked_changes", BigInteger, nullable=False, comment="grows whenever that table changes"),
            Column("built_at", TIME, nullable=False, comment="when these tables were built"),
            Column("updated_at", TIME, nullable=False, comment="when the position last moved"),
        ]
        for column in columns:
            column.type = self._column_type(column, column.primary_key)
        return Table(
            place.name,
            self.metadata,
            *columns,
            schema=place.schema,
            comment="one row: how far the tables of this mirror are",
            **self._options,
        )
