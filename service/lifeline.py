"""A process that ends when the one that started it ends, however that one ended (Linux; elsewhere it does nothing).

Run as a script it is a launcher: it ties itself to its parent, changes user if told to, and becomes the program. A
launcher, because the alternative, code between fork and exec (preexec_fn), may deadlock in a process with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(with_signal: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send this process the signal when the thread that started it ends.

    Call it first thing in a child process. A fork does not inherit it; an exec keeps it; a change of user drops it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)


def tied(command: list[str], with_signal: signal.Signals, user: tuple[int, int] | None = None) -> list[str]:
    """Return the command line that runs the command tied to this process, as (user id, group id) if given."""
    user_id, group_id = user or (-1, -1)
    launcher = [sys.executable, "-I", "-S", __file__]
    return [*launcher, str(os.getpid()), str(int(with_signal)), str(user_id), str(group_id), *command]


def _launch(parent: int, with_signal: int, user_id: int, group_id: int, command: list[str]) -> None:
    # The parent's signal is set last: a change of user would drop it.
    if user_id >= 0:
        os.setgroups([])
        os.setgid(group_id)
        os.setuid(user_id)
    die_with_parent(signal.Signals(with_signal))
    if os.getppid() != parent:  # it ended before we were tied to it
        sys.exit(1)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 -- no shell is what we want


if __name__ == "__main__":
    parent, with_signal, user_id, group_id = (int(argument) for argument in sys.argv[1:5])
    _launch(parent, with_signal, user_id, group_id, sys.argv[5:])
