"""Stopping a server in the middle of everything: it keeps its connections, and answers nothing."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """SIGSTOP for a process and all its children, which PostgreSQL's backends are; SIGCONT at the end."""
    stopped: list[int] = []
    # The parent first, so that no new ones come.
    for each in [pid, *_children(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGSTOP)
            stopped.append(each)
    try:
        yield
    finally:
        for each in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


def _children(pid: int) -> Iterator[int]:
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                # The name, in parentheses, may have blanks; the state and the parent follow it.
                if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    yield int(process.name)
