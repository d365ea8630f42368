"""From SQLAlchemy to psycopg: the checkpoint that every select reads first, and compiling to text."""

import re

from sqlalchemy import ColumnElement, FromClause, Select, literal_column, true
from sqlalchemy.dialects.postgresql import psycopg

from query.database import Statement
from readmodel.tables import checkpoint

# The read tables move together, under one checkpoint.
READ_TABLES = "read_tables"

_dialect = psycopg.dialect()  # type: ignore[no-untyped-call]
_placeholder = re.compile(r"%\((\w+)\)s")


def beside_checkpoint(*tables: FromClause | tuple[FromClause, ColumnElement[bool]]) -> FromClause:
    """FROM read.checkpoint LEFT JOIN the tables, each with its condition (none: all rows).

    The checkpoint comes first for two reasons. Its position is the answer's Sync-Token, read in one snapshot with the
    data. And PostgreSQL locks the tables of a FROM list from left to right: the swap at the end of a replay holds
    read.checkpoint exclusively, so a select that comes in between waits there, before it has touched another table,
    and then finds the new ones. The LEFT JOIN keeps the position when nothing else is found.
    """
    joined: FromClause = checkpoint
    for table in tables:
        target, condition = table if isinstance(table, tuple) else (table, true())
        joined = joined.outerjoin(target, condition)
    return joined


def of_read_tables() -> ColumnElement[bool]:
    """The condition that picks the read tables' own row of the checkpoint."""
    return checkpoint.c.name == literal_column(f"'{READ_TABLES}'")


def compiled(select: Select[*tuple[object, ...]], *, prepared: bool = True) -> Statement:
    """The text of a select for psycopg. Parameters keep their names and travel in binary."""
    text = str(select.compile(dialect=_dialect))
    return Statement(_placeholder.sub(r"%(\1)b", text).encode(), prepared)
