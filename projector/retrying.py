"""Retrying parked streams from time to time: a worker of the release that repairs them frees them by itself."""

import logging
import time
from collections.abc import Callable

from psycopg import Connection

from projector.loop import Loop
from projector.parked import STREAMS_A_BATCH, drain

RETRY_SECONDS = 60.0
# Live projection waits for a set, and orders may be large: so a round begins with few streams, and takes twice as many
# as long as a set takes no longer than this.
FIRST_STREAMS = 8
SET_SECONDS = 0.5

log = logging.getLogger(__name__)


class Rounds:
    """Rounds through all parked streams of a projection, set by set; the next begins `seconds` after one ends."""

    def __init__(self, seconds: float = RETRY_SECONDS) -> None:
        self._seconds = seconds
        self._next_at = 0.0
        self._up_to = 0
        self._streams = FIRST_STREAMS

    def go_on(self, connection: Connection, loop: Loop, between: Callable[[], object] = lambda: None) -> bool:
        """Retry the next streams, when it is due, and log each that is free; whether the round goes on.

        Calls `between` between their transactions: many events may be held back. Raises psycopg.Error.
        """
        if time.monotonic() < self._next_at:
            return False
        waiting = loop.writer.waiting(connection, self._up_to, self._streams)
        self._up_to = max(waiting.values(), default=0)
        if not waiting:
            self._next_at = time.monotonic() + self._seconds
        began = time.monotonic()
        for drained in drain(loop, connection, list(waiting), between):
            if drained.parked is None:
                name, stream = loop.projection.name, drained.stream
                log.info("%s: %s is no longer parked: %d events projected", name, stream, drained.events)
        is_fast = time.monotonic() - began < SET_SECONDS
        self._streams = min(2 * self._streams, STREAMS_A_BATCH) if is_fast else max(1, self._streams // 4)
        return bool(waiting)
