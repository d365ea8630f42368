"""When a swap of tables gets its locks: it waits for a moment only, gives up, and tries again.

Readers queue behind a swap that waits for its lock. So each attempt is short, beside the log and in every mirror.
"""

import time
from collections.abc import Callable
from typing import TypeVar

# How long one attempt waits for a lock in PostgreSQL. MySQL counts whole seconds: see projector/mirror/mysql.py.
LOCK_MS_MAX = 300
PAUSE_SECONDS = 0.5
TRIES_MAX = 120

Result = TypeVar("Result")


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
