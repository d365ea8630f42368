"""Tells a client that reads its answer slowly from one that has stopped reading."""

import array
import fcntl
import termios
from asyncio import Transport

# In every window of this many seconds a client must read at least this many bytes a second of what waits for it.
ANSWER_SECONDS_MAX = 30
ANSWER_BYTES_PER_SECOND_MIN = 8 * 1024


class Reading:
    """Watches how fast a client reads what the service has written to its connection.

    `since` is when the current window began, by the loop's clock; None when the client has read everything.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self._answer: object = None
        self._left = 0

    def stalls(self, transport: Transport, answer: object, now: float) -> bool:
        """Whether the client has read too little of the answer in a whole window. Call it about once a second."""
        left = transport.get_write_buffer_size()
        if not left:
            self.since = None
            return False
        left += _left_in_kernel(transport)
        if self.since is None or answer is not self._answer or left > self._left:
            self.since, self._answer, self._left = now, answer, left
            return False
        seconds = now - self.since
        if seconds < ANSWER_SECONDS_MAX:
            return False
        taken = self._left - left
        self.since, self._left = now, left
        return taken < seconds * ANSWER_BYTES_PER_SECOND_MIN


def _left_in_kernel(transport: Transport) -> int:
    """The bytes that wait in our kernel because the client's kernel has not acknowledged them.

    The kernel holds megabytes: without this count a slow client seems to read nothing for minutes, then a megabyte.
    """
    unsent = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, unsent)
    except OSError:  # this system does not support the call
        return 0
    return unsent[0]
