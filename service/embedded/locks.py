"""Locks on a data directory. The kernel drops them when their holders end, so there are no stale pid files.

Each server has two locks in `locks/`. `<name>.owner` is held by the process that started it: while it is held, the
directory is in use by another. `<name>.running` is inherited by the server and all its children, and thus held for
exactly as long as any of them lives: owner free but running held means that the owner was killed and left them behind.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path

POLL_SECONDS = 0.02


class Lock:
    """An advisory lock on a file (flock), which belongs to the open file: children that inherit it hold it too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """The open file that holds the lock, to be passed on to a child."""
        if self._descriptor is None:
            raise RuntimeError(f"{self.path} is not locked")
        return self._descriptor

    def acquire(self, wait_seconds: float = 0) -> bool:
        """Take the lock if it is or becomes free within the time; say whether this process has it."""
        if self._descriptor is not None:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return False
                time.sleep(POLL_SECONDS)
            else:
                self._descriptor = descriptor
                return True

    def sign(self, pid: int) -> None:
        """Write the id of the process that holds the lock into the file, so that others can name it."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{pid}\n".encode(), 0)

    def signer(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int(self.path.read_text())
        return None

    def release(self) -> None:
        """Give the lock up, for every process that shares it."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.forget()

    def forget(self) -> None:
        """Leave the lock to those who inherited it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(path: Path) -> bool:
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
