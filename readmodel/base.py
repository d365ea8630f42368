"""Common to the read tables of every projection: a schema, a checkpoint, and a table of parked streams.

Each projection has its tables in a file here, as ORM classes, and in a schema of its name: a rebuild swaps schemas.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase

from database.position_group import position_group
from readmodel.types import TIME

# For DDL and types as text. SQLAlchemy does not annotate its dialects.
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

_NAMES = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s",
}


def read_metadata(name: str, version: int, comment: str = "") -> sa.MetaData:
    """The metadata of a projection; `comment`: of its schema. If `version` is raised, workers rebuild the tables."""
    metadata = sa.MetaData(schema=name, naming_convention=_NAMES, info={"version": version, "comment": comment})
    _checkpoint(metadata)
    _parked(metadata)
    return metadata


def version_of(metadata: sa.MetaData) -> int:
    return cast(int, metadata.info["version"])


def checkpoint_of(metadata: sa.MetaData) -> sa.Table:
    """The table with one row that tells how far the projection is."""
    return metadata.tables[f"{metadata.schema}.checkpoint"]


def parked_of(metadata: sa.MetaData) -> sa.Table:
    return metadata.tables[f"{metadata.schema}.parked"]


def table_of(mapped: type[DeclarativeBase]) -> sa.Table:
    return cast(sa.Table, mapped.__table__)


class Report(NamedTuple):
    """A view for reports: what people ask for, with names and without joins.

    `comments` are those of columns. A column without one has the comment of the table's column that it shows.
    """

    name: str
    comment: str
    rows: sa.Select[Any]
    comments: Mapping[str, str]


def add_report(metadata: sa.MetaData, name: str, comment: str, rows: sa.Select[Any], **comments: str) -> None:
    comments = {str(it.key): str(getattr(it, "comment", None) or "") for it in rows.selected_columns} | comments
    metadata.info.setdefault("reports", []).append(Report(name, comment, rows, comments))


def reports_of(metadata: sa.MetaData) -> list[Report]:
    return list(metadata.info.get("reports", ()))


def _checkpoint(metadata: sa.MetaData) -> None:
    # Every select reads this row first: it carries the Sync-Token, and a swap that locks it holds all readers back.
    table = sa.Table(
        "checkpoint",
        metadata,
        sa.Column("one_row", sa.Boolean, primary_key=True, comment="true: the table has one row"),
        sa.Column("version", sa.Integer, nullable=False, comment="of the projection that built these tables"),
        sa.Column("made", sa.ARRAY(sa.Text), nullable=False, comment="columns, indexes, constraints of that version"),
        sa.Column("generation", sa.Text, nullable=False, comment="random text: no other build has the same"),
        sa.Column("built_at", TIME, nullable=False, comment="when the build of these tables began"),
        sa.Column("events_per_second", sa.Integer, comment="how fast the last replay built them"),
        sa.Column("position", sa.BigInteger, nullable=False, comment="of the last event that the tables contain"),
        sa.Column("updated_at", TIME, nullable=False, comment="when the position last moved"),
        sa.Column("seen_at", TIME, nullable=False, comment="when a worker last looked at the log"),
        sa.Column("worker", sa.Text, comment="the process that last looked, as host:pid"),
        sa.Column("error", sa.Text, comment="why the last batch failed; null when it did not"),
        sa.Column("parked", sa.Integer, nullable=False, comment="how many streams wait in the table parked"),
        sa.Column("parked_changes", sa.BigInteger, nullable=False, comment="grows whenever the table parked changes"),
        position_group(),
        sa.CheckConstraint("one_row", name="one_row_check"),
        sa.CheckConstraint("position >= 0", name="position_check"),
        comment="one row: how far the tables of this schema are",
        # Keeps `made`, which never changes, outside the row: many more versions of the row fit on a page.
        postgresql_with={"toast_tuple_target": 128},
    )
    sa.Index("checkpoint_position_group_idx", table.c.position_group)


def _parked(metadata: sa.MetaData) -> None:
    sa.Table(
        "parked",
        metadata,
        sa.Column("stream", sa.Text, primary_key=True, comment="whose events are held back"),
        sa.Column("position", sa.BigInteger, nullable=False, comment="of the first event that is held back"),
        sa.Column("version", sa.Integer, nullable=False, comment="of that event in its stream"),
        sa.Column("type", sa.Text, nullable=False, comment="of that event"),
        sa.Column("error", sa.Text, nullable=False, comment="why that event could not be projected"),
        sa.Column("behind", sa.Text, comment="the parked stream whose row this one refers to"),
        sa.Column("skipped", sa.Boolean, nullable=False, comment="its first event was skipped: it stays out for good"),
        sa.Column("parked_at", TIME, nullable=False, comment="when the stream was parked"),
        comment="streams whose events are held back, from one that could not be projected on",
    )
