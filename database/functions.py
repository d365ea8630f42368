"""Errors inside functions that operators have added to the database, such as those of triggers."""

import re

from psycopg import Error

# PL/pgSQL function note_ddl() line 2 at SQL statement; the words around the name are in the server's language.
_NAMED = re.compile(r'^PL/.*?([\w."]+\([^)]*\))', re.MULTILINE)


def function_of(error: Error) -> str | None:
    """The function in which the statement failed, such as `note_ddl()`; None if the error is not in one."""
    found = _NAMED.search(error.diag.context or "")
    return found and found[1]
