"""What an error of PostgreSQL means to an operator, in one line that says what happened and what to do."""

import os
import re

from psycopg import Error, OperationalError
from psycopg.errors import (
    DatatypeMismatch,
    InsufficientPrivilege,
    InvalidSchemaName,
    ReadOnlySqlTransaction,
    UndefinedColumn,
    UndefinedFunction,
    UndefinedObject,
    UndefinedTable,
)

from database.rules import function_of, rule_of
from database.sessions import Unsuitable

DISK_FULL = "53100"
_TOO_MANY = re.compile("too many|connection slots|connection limit")
_STARTS_OR_STOPS = re.compile("starting up|shutting down|not yet accepting")
_LOCKED = "55P03"
# A page of a table (XX001) or of an index (XX002) that the disk returns is not what PostgreSQL wrote.
DAMAGED = frozenset({"XX001", "XX002"})
# Conflicts, lack of resources, locks, a server that stops or ends what takes too long.
_PASSING = ("40", "53", "55", "57", "25P03", "25P04")


def in_one_line(error: Error, url: str = "DATABASE_URL") -> str:
    """The error and, if one is known, its remedy. `url` names the setting that holds the connection's URL."""
    said = str(error).partition("\n")[0]  # the lines below it are a programmer's hints
    if isinstance(error, Unsuitable):
        return said
    # In an OperationalError, such as one about a full disk, the function is not the cause.
    if not isinstance(error, OperationalError) and (function := function_of(error)):
        hint = f"; ALTER FUNCTION {function} SET search_path = ... lets it find what is not in public"
        lacks = isinstance(error, UndefinedTable | InvalidSchemaName | UndefinedFunction | UndefinedObject)
        return f"{function} in the database failed: {said}{hint if lacks else '; correct it, or its trigger'}"
    if rule := rule_of(error):
        return f"PostgreSQL: {rule}" if rule.startswith(said) else f"PostgreSQL: {said}: {rule}"
    if isinstance(error, UndefinedTable | UndefinedColumn | DatatypeMismatch | InvalidSchemaName):
        hint = "run `orders migrate` first, or `orders replay` for a read table; else restore a backup, whole"
        return f"the tables are not those of this release ({said}): {hint}"
    if isinstance(error, InsufficientPrivilege):
        return f"PostgreSQL: {said}: use the role that owns the tables, or grant it what docs/deploying.md lists"
    if isinstance(error, ReadOnlySqlTransaction):
        hint = f"{url} leads to a standby, or default_transaction_read_only is on"
        return f"PostgreSQL: {said}: {hint}; use a server and a role that may write"
    return f"PostgreSQL: {said}{_remedy(error, said, url)}"


def make_room(directory: str = "its data directory") -> str:
    """The remedy for a disk of PostgreSQL that is full, or will be soon."""
    return (
        "make room on the disk of PostgreSQL: old backups, core dumps and files of other programs may go, but delete "
        f"nothing in {directory}; or give it a larger disk"
    )


def _remedy(error: Error, said: str, url: str) -> str:
    if error.sqlstate == DISK_FULL or "No space left on device" in said:  # in the language of the server
        return f"; {make_room()}"
    if "could not access file" in said:
        return "; correct session_preload_libraries or local_preload_libraries of the server, the database or the role"
    if _TOO_MANY.search(said):
        return "; close connections that nobody needs, or raise the limit of the server, the database or the role"
    if error.sqlstate in DAMAGED:
        return "; check the disk. `orders replay` rebuilds read tables, REINDEX an index; for the log restore a backup"
    if error.sqlstate == _LOCKED:
        return "; try again, or end the session that holds the lock: `orders doctor` names it"
    if (error.sqlstate or "").startswith(_PASSING) or _STARTS_OR_STOPS.search(said):
        return "; try again in a moment"
    if error.sqlstate:
        return ""
    inherited = "".join(f", {it}" for it in sorted(os.environ) if it.startswith("PG"))  # libpq reads these too
    has_answered = "FATAL" in said or "no password supplied" in said
    return f"; check {url}{inherited}" + ("" if has_answered else ", and that the server runs")
