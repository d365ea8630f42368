"""What operators have added to the database, and what of it refuses what the service writes."""

import re

from psycopg import Error, IntegrityError, OperationalError
from psycopg.errors import StringDataRightTruncation

# PL/pgSQL function note_ddl() line 2 at SQL statement; the words around the name are in the server's language.
_NAMED = re.compile(r'^PL/.*?([\w."]+\([^)]*\))', re.MULTILINE)

_OURS = ("access.", "log.")


def function_of(error: Error) -> str | None:
    """The function in which the statement failed, such as `note_ddl()`; None if the error is not in one of others."""
    found = _NAMED.search(error.diag.context or "")
    return found[1] if found and not found[1].startswith(_OURS) else None


def rule_of(error: BaseException) -> str | None:
    """Which rule of the database refused what the service writes, and what to do; None if none did. It quotes no value.

    Others have added the rule, or the data is not what the service wrote.
    """
    # In an OperationalError, such as one about a full disk, the function is not the cause.
    if not isinstance(error, Error) or isinstance(error, OperationalError):
        return None
    if function := function_of(error):
        return f"the function {function} failed: correct it, or drop its trigger"
    if isinstance(error, StringDataRightTruncation):
        return f"{error.diag.message_primary}: give that column of the log its type again, text"
    found = error.diag
    table = f"{found.schema_name}.{found.table_name}"
    if not isinstance(error, IntegrityError) or not found.table_name:
        return None
    if found.column_name:
        return f"the column {found.column_name} of {table} is NOT NULL: drop that, or it, or give it a default"
    return (
        f"the constraint {found.constraint_name} of {table} is broken: drop it if it is not of this release; "
        "if it is, restore the database from a backup, whole"
    )
