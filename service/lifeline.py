"""A process that ends when the one that started it ends, however that one ended (Linux; elsewhere it does nothing)."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1

# Loaded at import: a child between fork and exec must not import or allocate more than it has to.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(with_signal: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send this process the signal when the thread that started it ends.

    Call it first thing in a child process. A fork does not inherit it; an exec keeps it, if no change of user follows.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)


def lifeline(with_signal: signal.Signals) -> Callable[[], None]:
    """Return a preexec_fn for subprocess that ties the child to this process, also if it dies in the meantime."""
    parent = os.getpid()

    def tie() -> None:
        die_with_parent(with_signal)
        if os.getppid() != parent:
            os._exit(1)

    return tie
