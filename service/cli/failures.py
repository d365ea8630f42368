"""Turns an error that an operator can cause into one line and an exit code. Any other error keeps its traceback."""

import sys
from errno import ENOENT, ENOSPC

import typer

from service.errors import MISUSE, NOT_TRUE, OperatorError
from service.logs import escaped

# The remedies of an OSError that names no file.
_WITHOUT_NAME = {
    ENOENT: ": was the working directory deleted? cd to another",
    ENOSPC: ": make room on the disk of the output, and of the data directory",
}


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
    from psycopg import Error
    from psycopg.errors import NumericValueOutOfRange

    from database.remedies import in_one_line
    from database.rules import function_of
    from eventlog.failures import is_outage

    cause = getattr(error, "orig", None) or error  # SQLAlchemy wraps them
    if not isinstance(cause, Error):
        return None
    if isinstance(cause, NumericValueOutOfRange) and not function_of(cause):
        return f"a number on the command line is too large: {str(cause).partition(chr(10))[0]}", MISUSE
    if is_outage(cause) or function_of(cause):
        return in_one_line(cause), NOT_TRUE
    return None


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
        if error.filename:
            return f"{error.filename}: {error.strerror}", NOT_TRUE
        if "temporary directory" in error.strerror:  # of Python's module tempfile
            return f"{error.strerror}: name a folder that this user may write in TMPDIR", NOT_TRUE
        return error.strerror + _WITHOUT_NAME.get(error.errno or 0, ""), NOT_TRUE
    return None
