"""A child of the supervisor: a real `orders` command, whose lines appear under its name."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO

from service.lifeline import tied

# Longer than the API and the worker themselves allow for what is in flight.
STOP_SECONDS_MAX = 12
_NAME_WIDTH = 7


class Child:
    """A subcommand of orders in a process group of its own, with an inherited lock that tells that it lives."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], lock: int) -> None:
        self.name = name
        self._arguments = list(arguments)
        self._environment = dict(environment)
        self._lock = lock
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        self._end_group()
        # -P: not from the working directory, whatever lies there.
        command = [sys.executable, "-P", "-m", "service.cli", *self._arguments]
        self._process = subprocess.Popen(
            tied(command, signal.SIGTERM),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=(self._lock,),
            # Ctrl-C in the terminal reaches the supervisor alone, which stops things in order.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=_pass_on, args=(self.name, self._process.stdout), daemon=True)
        self._reader.start()

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def ask_to_stop(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Wait until the command has stopped, after ask_to_stop(); in the end by force."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS_MAX)
        self._end_group()

    def _end_group(self) -> None:
        """End what is left of the last start: processes that the command itself had started, if it was killed."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._reader is not None:
            self._reader.join(STOP_SECONDS_MAX)
        if self._process.stdout is not None:
            self._process.stdout.close()


def say(message: str) -> None:
    say_bare(_named("up", message))


def say_bare(line: str) -> None:
    """Print a line as it is, to be copied."""
    # The reader of our output may have ended; that must not stop us, nor block the children.
    with contextlib.suppress(BrokenPipeError):
        # In one piece: each child's lines come from a thread of its own.
        print(f"{line}\n", end="", flush=True)


def _pass_on(name: str, lines: IO[str] | None) -> None:
    for line in lines or ():
        say_bare(_named(name, line.rstrip("\n")))


def _named(name: str, line: str) -> str:
    return f"{name:<{_NAME_WIDTH}}| {line}"
