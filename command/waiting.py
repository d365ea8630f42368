"""The queue of commands that wait for a batch. It limits their number and their waiting time."""

import asyncio
from collections import deque
from dataclasses import dataclass
from operator import attrgetter

from command.submission import Answer, Overloaded, Submission

BATCH_COMMANDS_MAX = 256
WAITING_MAX = 2_000
# When the oldest new command has waited this long, the queue refuses further ones. So the queue is as long as what the
# writer does in this time, on a fast machine and on a slow one.
QUEUE_SECONDS_MAX = 1.0
# The queue refuses a command that has waited this long for a batch: a server this slow would not answer it in time.
WAITING_SECONDS_MAX = 2.5


@dataclass(slots=True, eq=False)
class Waiting:
    """A submission, the future that its caller waits for, and since when (by the loop's clock)."""

    submission: Submission
    future: asyncio.Future[Answer]
    since: float


class Queue:
    """The commands that wait for a batch: for `seconds_max` at most.

    `is_patient`, for imports: it refuses none, and batches take commands strictly in the order in which they came.
    """

    def __init__(self, is_patient: bool, seconds_max: float) -> None:
        self._is_patient = is_patient
        self._seconds_max = min(WAITING_SECONDS_MAX, seconds_max)
        self._new: deque[Waiting] = deque()
        # Commands that come back from a batch: it was full, or the loader had to read a long stream for them first.
        self._returned: deque[Waiting] = deque()
        self._news = asyncio.Event()
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._new) + len(self._returned)

    def close(self) -> None:
        self.is_closed = True
        self._news.set()

    def is_full(self) -> bool:
        if len(self) >= WAITING_MAX or self.is_closed:
            return True
        if not self._new or self._is_patient:
            return False
        return self._new[0].since < asyncio.get_running_loop().time() - QUEUE_SECONDS_MAX

    def add(self, submission: Submission) -> asyncio.Future[Answer]:
        """Put a new command at the end. Raises Overloaded."""
        if self.is_full():
            raise Overloaded("too many commands are waiting")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._new.append(Waiting(submission, future, loop.time()))
        self._news.set()
        return future

    def give_back(self, waiting: Waiting) -> None:
        """Queue a command again, before all new ones, after the loader has read its streams."""
        self._returned.append(waiting)
        self._news.set()

    def put_back(self, commands: list[Waiting]) -> None:
        """Queue commands again, in the same order and before all others, because their batch was full."""
        self._returned.extendleft(reversed(commands))
        if not self._is_patient:
            # The queue may hold returned commands that are older than some of these.
            self._returned = deque(sorted(self._returned, key=attrgetter("since")))

    async def news(self) -> None:
        """Wait until a command comes, or the queue is closed."""
        self._news.clear()
        await self._news.wait()

    def take(self) -> list[Waiting]:
        """The commands of the next batch. Refuses those that have waited too long."""
        taken: list[Waiting] = []
        now = asyncio.get_running_loop().time()
        # Returned commands may be large. New ones get up to half of each batch, so that they do not wait for all those.
        new_min = 0 if self._is_patient else min(len(self._new), BATCH_COMMANDS_MAX // 2)
        for line, most in ((self._returned, BATCH_COMMANDS_MAX - new_min), (self._new, BATCH_COMMANDS_MAX)):
            while line and len(taken) < most:
                waiting = line.popleft()
                # The caller has closed the connection, and the command has not begun: drop it.
                if waiting.future.done():
                    continue
                if self._is_patient:
                    waiting.since = now
                elif waiting.since < now - self._seconds_max:
                    waiting.future.set_exception(Overloaded("it waited too long for its turn"))
                    continue
                taken.append(waiting)
        return taken
