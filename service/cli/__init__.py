"""The `orders` command line: its start, and the end of every error that an operator can cause."""

import io
import logging
import os
import re
import signal
import sys
import threading

# As the shell passes "$FOLDER" or --rejects="$FILE" when the variable has no value. As a path it would mean `.`.
_LOST_VALUE = re.compile(r"\s*|--[a-z-]+=\s*")


def main() -> None:
    """Run the command line; `orders.py` is its entry point, which ends a Ctrl-C that no command handles silently."""
    _prepare_output()
    # A parent that ignores the end of its children hands this on, and no process would learn how one of its own ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # They log what fails while an interrupted command closes connections. A command that keeps a log shows it.
    for library in ("psycopg", "sqlalchemy.pool"):
        logging.getLogger(library).addHandler(logging.NullHandler())
    sys.unraisablehook = _unraisable
    from service.cli.commands import app
    from service.cli.failures import explain
    from service.errors import MISUSE, OperatorError

    try:
        if any(map(_LOST_VALUE.fullmatch, sys.argv[1:])):
            raise OperatorError("an argument is empty: has each variable in the command a value?", exit_code=MISUSE)
        try:
            # Not standalone: Typer raises a wrong command line as an error instead of printing it in a box.
            sys.exit(app(prog_name="orders", standalone_mode=False))
        finally:
            _flush()
    except Exception as error:
        explained = explain(error)
        if explained is None:
            if _is_of_ctrl_c(error):
                sys.exit(130)
            raise
        line, exit_code = explained
        print(f"orders: {line}", file=sys.stderr)
        sys.exit(exit_code)


def _unraisable(found: "sys.UnraisableHookArgs") -> None:
    """Send a Ctrl-C again that came in a callback, as of a module's lock: Python would print and forget it."""
    if isinstance(found.exc_value, KeyboardInterrupt):
        # From another thread: a signal sent here would interrupt this function.
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(found)


def _is_of_ctrl_c(error: BaseException | None) -> bool:
    """Whether another error has taken the place of a KeyboardInterrupt.

    Python puts its own there in the middle of making a class. Pydantic does while it builds a validator, and keeps
    the interruption in the text alone.
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _prepare_output() -> None:
    """Print characters that the terminal's encoding lacks as escapes, and nothing to a stream that is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 -- open until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Write the rest of the output. Raises OSError when the disk is full."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python flushes once more when it ends, and would print a second message.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(1)  # the reader has seen enough; Typer ends in the same way
        raise
