"""How fast a client reads its answer: one that takes it slowly but steadily is waited for, one that stalls is not."""

import array
import fcntl
import termios
from asyncio import Transport

# In each window of so many seconds a client must take so many bytes a second of what lies there for it.
ANSWER_SECONDS_MAX = 30
ANSWER_BYTES_PER_SECOND_MIN = 8 * 1024


class Reading:
    """How a client takes what lies in its connection's buffer.

    `since` is when its window began, by the loop's clock; None when nothing lies there.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self._answer: object = None
        self._left = 0

    def stalls(self, transport: Transport, answer: object, now: float) -> bool:
        """Whether the client has taken too little of the answer in a whole window. To be asked about once a second."""
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
    """The bytes that the kernel has taken from us and the client's kernel has not acknowledged.

    These are megabytes: without them a slow client seems to take nothing for minutes, and then a megabyte at once.
    """
    unsent = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, unsent)
    except OSError:  # a system that does not tell
        return 0
    return unsent[0]
