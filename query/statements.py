"""From SQLAlchemy to psycopg: the checkpoint that every select reads first, and compiling to text."""

import hashlib
import re

from sqlalchemy import ColumnElement, FromClause, MetaData, Select, literal_column, true
from sqlalchemy.dialects.postgresql import psycopg

from database.position_group import NEWEST
from query.database import Statement
from readmodel.base import checkpoint_of, version_of

_dialect = psycopg.dialect()  # type: ignore[no-untyped-call]
# psycopg does not keep texts of more than 4 KB parsed, so the text is made shorter: a column keeps its name without a
# label, a table has its schema only where FROM names it, and a cast of a column or of one function is `::`.
_same_name = re.compile(r"(\b\w+\.(\w+)) AS \2\b")
_schema = re.compile(r"\b\w+\.(?=\w+\.\w)")
_cast = re.compile(r"\bCAST\(([\w.]+|\w+\([\w.]+\)) AS (\w+)\)")
_placeholder = re.compile(r"%\((\w+)\)s")


def beside_checkpoint(projection: MetaData, *tables: FromClause | tuple[FromClause, ColumnElement[bool]]) -> FromClause:
    """FROM the projection's checkpoint LEFT JOIN the tables, each with its condition (none: all rows).

    The checkpoint comes first for two reasons. Its position is the answer's Sync-Token, read in one snapshot with the
    data. And PostgreSQL locks the tables of a FROM list from left to right: the swap at the end of a replay locks the
    checkpoint exclusively, so a select that starts meanwhile waits there, before it has touched another table, and
    then finds the new ones. The LEFT JOIN keeps the position when nothing else is found.
    """
    joined: FromClause = checkpoint_of(projection)
    for table in tables:
        target, condition = table if isinstance(table, tuple) else (table, true())
        joined = joined.outerjoin(target, condition)
    return joined


def is_current(projection: MetaData) -> ColumnElement[bool]:
    """The condition that this release's version of the projection built the tables. Without it there is no row.

    `position_group` finds the newest version of the row, whatever older ones an open snapshot keeps.
    """
    checkpoint = checkpoint_of(projection)
    newest = f"(SELECT ctid FROM {checkpoint.fullname} {NEWEST})"  # noqa: S608 - the name of a table of ours
    return (literal_column("checkpoint.ctid") == literal_column(newest)) & (
        checkpoint.c.version == literal_column(str(version_of(projection)))
    )


def digest_of(expression: ColumnElement[str], projection: MetaData) -> str:
    """Eight hexadecimal digits for how an expression makes its text from the rows of this version of the projection."""
    text = f"{version_of(projection)} {expression.compile(dialect=_dialect)}"
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def compiled(select: Select[*tuple[object, ...]], projection: MetaData, *, prepared: bool = True) -> Statement:
    """The text of a select for psycopg. Parameters keep their names and travel in binary.

    `projection` is the one whose checkpoint the select reads: it answers at least one row, unless the tables are of
    another version.
    """
    text = _same_name.sub(r"\1", _schema.sub("", str(select.compile(dialect=_dialect))))
    text = _cast.sub(r"\1::\2", text)
    return Statement(_placeholder.sub(r"%(\1)b", text).encode(), prepared, str(projection.schema))
