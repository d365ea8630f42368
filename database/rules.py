"""The functions, constraints and columns of the database that refuse what the service writes."""

import re

from psycopg import Error, IntegrityError, OperationalError
from psycopg.errors import StringDataRightTruncation

# PL/pgSQL function note_ddl() line 2 at SQL statement; the words around the name are in the server's language.
_NAMED = re.compile(r'^PL/.*?([\w."]+\([^)]*\))', re.MULTILINE)

# What cannot be made anew from the log.
_KEPT = ("access", "log")
_OURS = tuple(f"{schema}." for schema in _KEPT)
# PostgreSQL's function that refuses an UPDATE or DELETE which a publication cannot pass on; no other code says so.
_CANNOT_PUBLISH = "CheckCmdReplicaIdentity"


def function_of(error: Error) -> str | None:
    """The function that failed, such as `note_ddl()`; None if no function failed, or it is one of ours."""
    found = _NAMED.search(error.diag.context or "")
    return found[1] if found and not found[1].startswith(_OURS) else None


def rule_of(error: BaseException) -> str | None:
    """The rule of the database that refused a write, and its remedy; None for another error. It quotes no value."""
    if not isinstance(error, Error):
        return None
    if error.diag.source_function == _CANNOT_PUBLISH:
        said = " ".join(filter(None, (error.diag.message_primary, error.diag.message_detail)))
        return (
            f"{said.rstrip('.')}: a publication has this table: ALTER TABLE ... REPLICA IDENTITY DEFAULT, or change "
            "the publication"
        )
    # In an OperationalError, such as one about a full disk, the function is not the cause.
    if isinstance(error, OperationalError):
        return None
    if function := function_of(error):
        return f"the function {function} failed: correct it, or drop its trigger"
    if isinstance(error, StringDataRightTruncation):
        said = error.diag.message_primary or "value too long"
        return f"{said}: give the column its type of this release again, text"
    found = error.diag
    table = f"{found.schema_name}.{found.table_name}"
    if not isinstance(error, IntegrityError) or not found.table_name:
        return None
    if found.column_name:
        column = f"the column {found.column_name} of {table}"
        return f"{column} is NOT NULL without a default: allow NULL, give it a default, or drop it"
    is_kept = found.schema_name in _KEPT
    otherwise = "restore the database from a backup, whole" if is_kept else "rebuild the tables: `orders replay`"
    return (
        f"the constraint {found.constraint_name} of {table} is broken: drop it if it is not of this release; "
        f"if it is, {otherwise}"
    )
