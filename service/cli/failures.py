"""Turns an error that an operator can cause into one line and an exit code. Any other error keeps its traceback."""

import os
import re
import sys
from typing import TYPE_CHECKING

import typer

from service.errors import MISUSE, NOT_TRUE, OperatorError
from service.logs import escaped

if TYPE_CHECKING:
    from psycopg import Error

DISK_FULL = "53100"
_TAKES_NO_MORE = re.compile("too many|connection slots|starting up|shutting down|not yet accepting")


def explain(error: BaseException) -> tuple[str, int] | None:
    """Return the line and the exit code for an error, None when it is not an operator's doing."""
    if isinstance(error, OperatorError):
        line: tuple[str, int] | None = (str(error), error.exit_code)
    else:
        line = _of_command_line(error) or _of_postgres(error) or _of_redis(error) or _of_system(error)
    return line and (escaped(" ".join(line[0].split())), line[1])


def _of_command_line(error: BaseException) -> tuple[str, int] | None:
    """An error of Typer: an unknown option, a value out of range, a question that got no answer."""
    if isinstance(error, typer.Abort):
        return "aborted", NOT_TRUE
    # Typer's errors have no public class in common.
    said = getattr(error, "format_message", None)
    if said is None:
        return None
    context = getattr(error, "ctx", None)
    hint = f" See {context.command_path} --help" if context else ""
    return f"{said().rstrip('.')}.{hint}", MISUSE


def _of_postgres(error: BaseException) -> tuple[str, int] | None:
    # Only what is imported can have raised; importing it here would cost every command half a second.
    if "psycopg" not in sys.modules:
        return None
    from psycopg import Error, OperationalError
    from psycopg.errors import (
        InsufficientPrivilege,
        InvalidSchemaName,
        NumericValueOutOfRange,
        ReadOnlySqlTransaction,
        UndefinedColumn,
        UndefinedFunction,
        UndefinedObject,
        UndefinedTable,
    )

    from database.sessions import Unsuitable
    from eventlog.failures import function_of, is_outage

    cause = getattr(error, "orig", None) or error  # SQLAlchemy wraps them
    said = str(cause).partition("\n")[0]  # the lines below it are a programmer's hints
    # In an OperationalError, such as one about a full disk, the function is not the cause.
    if isinstance(cause, Error) and not isinstance(cause, OperationalError) and (function := function_of(cause)):
        hint = f"; ALTER FUNCTION {function} SET search_path = ... lets it find what is not in public"
        lacks = isinstance(cause, UndefinedTable | InvalidSchemaName | UndefinedFunction | UndefinedObject)
        return f"{function} in the database failed: {said}{hint if lacks else '; correct it, or its trigger'}", NOT_TRUE
    if isinstance(cause, UndefinedTable | UndefinedColumn | InvalidSchemaName):
        hint = "run `orders migrate` first, or `orders replay` for a read table"
        return f"the database lacks tables of ours ({said}): {hint}", NOT_TRUE
    if isinstance(cause, InsufficientPrivilege):
        return (
            f"PostgreSQL: {said}: use the role that owns the tables, or grant it what docs/deploying.md lists",
            NOT_TRUE,
        )
    if isinstance(cause, ReadOnlySqlTransaction):
        hint = "DATABASE_URL leads to a standby, or default_transaction_read_only is on"
        return f"PostgreSQL: {said}: {hint}; use a server and a role that may write", NOT_TRUE
    if isinstance(cause, NumericValueOutOfRange):
        return f"a number on the command line is too large: {said}", MISUSE
    if isinstance(cause, Unsuitable):
        return said, NOT_TRUE
    if isinstance(cause, Error) and is_outage(cause):
        return f"PostgreSQL: {said}{_remedy(cause, said)}", NOT_TRUE
    return None


def _remedy(outage: "Error", said: str) -> str:
    if outage.sqlstate == DISK_FULL or "No space left on device" in said:  # in the language of the server
        from service.doctor.storage import make_room  # slow, and seldom needed

        return f"; {make_room()}"
    if "could not access file" in said:
        return "; correct session_preload_libraries or local_preload_libraries of the server, the database or the role"
    if outage.sqlstate or _TAKES_NO_MORE.search(said):
        return ""  # the server itself has spoken: a lock that is held, a start that takes long
    inherited = "".join(f", {it}" for it in sorted(os.environ) if it.startswith("PG"))  # libpq reads these too
    return f"; check DATABASE_URL{inherited}" + ("" if "FATAL" in said else ", and that the server runs")


def _of_redis(error: BaseException) -> tuple[str, int] | None:
    if "redis" not in sys.modules:
        return None
    from redis import RedisError

    from projector.redis_faults import fault_of

    return (str(fault_of(error)), NOT_TRUE) if isinstance(error, RedisError) else None


def _of_system(error: BaseException) -> tuple[str, int] | None:
    """A full disk, a missing directory, a file that must not be read, an argument that is not text."""
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        # Python reads bytes of the command line and the environment that are not UTF-8 as lone surrogates.
        return f"{error.object!r} is not UTF-8 text", MISUSE
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, NOT_TRUE
    return None
