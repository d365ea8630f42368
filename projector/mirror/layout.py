"""The tables of a projection as a mirror has them: those of the read model, a checkpoint, and the parked streams.

Three builds can stand side by side: the serving one, the next one that a rebuild fills, and the one that it has
replaced. A target says how their tables are named and which column types it has.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKeyConstraint, Index, Integer, MetaData, Table, Text
from sqlalchemy.sql.visitors import replacement_traverse

from projector.projection import Projection
from readmodel.base import parked_of
from readmodel.types import TIME

if TYPE_CHECKING:
    from projector.mirror.target import Target


class Build(StrEnum):
    """Which of the builds of a table: the value is added to its name."""

    SERVING = ""
    NEXT = "__mirror_next"
    RETIRED = "__mirror_retired"


_CHECKPOINT = Table(
    "checkpoint",
    MetaData(),
    Column("one_row", Integer, primary_key=True, comment="1: the table has one row"),
    Column("version", Integer, nullable=False, comment="of the projection that built these tables"),
    Column("generation", Integer, nullable=False, comment="how often these tables were built"),
    Column("log_uuid", Text, nullable=False, comment="of the log that they are the fold of"),
    Column("position", BigInteger, nullable=False, comment="of the last event that the tables contain"),
    Column("event", Text, nullable=False, comment="which event is at that position of the log"),
    Column("parked", Integer, nullable=False, comment="how many streams wait in the table of parked streams"),
    Column("parked_changes", BigInteger, nullable=False, comment="grows whenever that table changes"),
    Column("built_at", TIME, nullable=False, comment="when these tables were built"),
    Column("updated_at", TIME, nullable=False, comment="when the position last moved"),
    comment="one row: how far the tables of this mirror are",
)


class TableName(NamedTuple):
    schema: str | None
    name: str


def _moved(table: Table, element: Any, **_: Any) -> Any:
    """The column of `table` that has the name of the column `element`; None for all else."""
    return table.c[element.name] if isinstance(element, Column) else None


def _where(index: Index) -> Any:
    """The condition of a partial index; None: the index has all rows."""
    return index.dialect_options["postgresql"]["where"]


class Layout:
    """The tables of one build on a target. Where names must be unique, `generation` makes those of keys and indexes so.

    `indexes` are made after the rows (`Target.complete`), so `metadata` does not have them.
    """

    def __init__(
        self, target: "Target", projection: Projection, build: Build = Build.SERVING, generation: int = 1
    ) -> None:
        self.metadata = MetaData()
        self.indexes: list[Index] = []
        self._target = target
        self._suffix = f"_{generation}" if target.numbers_names else ""
        self._place: Callable[[str], TableName] = lambda name: target.named(projection, name, build)
        self.tables = {str(table.name): self._copy(table) for table in projection.plain_tables}
        self.parked = self._copy(parked_of(projection.metadata))
        self.checkpoint = self._copy(_CHECKPOINT)

    @property
    def all(self) -> list[Table]:
        """All tables; the checkpoint is the last, so that a build without one is known to be unfinished."""
        return [*self.tables.values(), self.parked, self.checkpoint]

    def _copy(self, table: Table) -> Table:
        place, target = self._place(str(table.name)), self._target
        # Those in a key or in an index.
        searched = {column.name for index in table.indexes for column in index.columns}
        searched |= {column.name for column in table.columns if column.primary_key or column.foreign_keys}
        columns: list[Column[Any]] = [
            Column(
                str(column.name),
                target.column_type(column, column.name in searched),
                primary_key=column.primary_key,
                nullable=column.nullable,
                server_default=column.server_default,
                comment=column.comment,
                autoincrement=False,
            )
            for column in table.columns
        ]
        options = {"schema": place.schema, "comment": table.comment, **target.table_options}
        copy = Table(place.name, self.metadata, *columns, **options)
        for constraint in table.constraints:
            if isinstance(constraint, CheckConstraint):
                check = CheckConstraint(str(constraint.sqltext), name=self._unique(constraint.name))
                copy.append_constraint(check)
        for key in table.foreign_key_constraints:
            referred = self._place(str(key.referred_table.name))
            prefix = f"{referred.schema}." if referred.schema else ""
            targets = [f"{prefix}{referred.name}.{element.column.name}" for element in key.elements]
            copy.append_constraint(ForeignKeyConstraint(list(key.column_keys), targets, name=self._unique(key.name)))
        whole = [list(index.columns) for index in table.indexes if _where(index) is None]
        for index in table.indexes:
            # Without partial indexes a copy has all rows. It is of no use beside another one of the same columns.
            if _where(index) is None or self._target.has_partial_indexes or list(index.columns) not in whole:
                self._copy_index(index, copy)
        return copy

    def _copy_index(self, index: Index, table: Table) -> None:
        options = {}
        where = _where(index)
        if where is not None and self._target.has_partial_indexes:
            moved = replacement_traverse(where, {}, partial(_moved, table))
            options = {"postgresql_where": moved, "sqlite_where": moved}
        copied = Index(self._unique(index.name), *[table.c[column.name] for column in index.columns], **options)
        table.indexes.remove(copied)
        self.indexes.append(copied)

    def _unique(self, name: object) -> str:
        return f"{name}{self._suffix}"
