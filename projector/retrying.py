"""Retrying parked streams from time to time: a worker of the release that repairs them frees them by itself."""

import logging
import time
from collections.abc import Sequence

from psycopg import Connection

from projector import parked
from projector.loop import Loop

log = logging.getLogger(__name__)


def retry(connection: Connection, loop: Loop, streams: Sequence[str]) -> None:
    """Project the events that parked streams hold back, and log each stream that is free. Raises psycopg.Error."""
    for drained in parked.drain(loop, connection, streams):
        if drained.parked is None:
            name, stream = loop.projection.name, drained.stream
            log.info("%s: %s is no longer parked: %d events projected", name, stream, drained.events)


class Rounds:
    """Rounds through all parked streams of a projection, set by set; the next begins `seconds` after one ends."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next_at = 0.0
        self._up_to = 0

    def go_on(self, connection: Connection, loop: Loop) -> None:
        """Retry the next set, when it is due. Raises psycopg.Error."""
        if time.monotonic() < self._next_at:
            return
        waiting = parked.waiting(connection, loop.projection, self._up_to)
        if not waiting:
            self._up_to = 0
            self._next_at = time.monotonic() + self._seconds
            return
        self._up_to = max(waiting.values())
        retry(connection, loop, list(waiting))
