"""When a swap of tables gets its locks: it waits for a moment only, gives up, and tries again.

Readers queue behind a swap that waits for its lock. So each attempt is short, beside the log and in every mirror.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

# How long one attempt waits for a lock in PostgreSQL. MySQL counts whole seconds: see projector/mirror/mysql.py.
LOCK_MS_MAX = 300
PAUSE_SECONDS = 0.5
TRIES_MAX = 120

# With a short deadlock_timeout PostgreSQL ends a swap that waits for a view whose reader waits for a table.
IN_USE = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)

Result = TypeVar("Result")


def is_in_use(error: BaseException) -> bool:
    """Whether PostgreSQL refused a swap because another session uses the tables, or has just changed their grants."""
    return isinstance(error, IN_USE) or (
        isinstance(error, psycopg.errors.InternalError_) and "tuple concurrently updated" in str(error)
    )


def swap_when_free(attempt: Callable[[], Result], is_locked: Callable[[Exception], bool]) -> Result:
    """Call `attempt` until no other session holds a lock that it needs, `TRIES_MAX` times at most.

    `is_locked` says whether that was an error's reason. Raises all other errors, and that of the last attempt.
    """
    for left in reversed(range(TRIES_MAX)):
        try:
            return attempt()
        except Exception as error:
            if not left or not is_locked(error):
                raise
        time.sleep(PAUSE_SECONDS)
    raise AssertionError("the last attempt returns or raises")
