"""The commands that wait for their batch: how many may, for how long, and which of them the next batch takes."""

import asyncio
from collections import deque
from dataclasses import dataclass
from operator import attrgetter

from command.submission import Answer, Overloaded, Submission

BATCH_COMMANDS_MAX = 256
WAITING_MAX = 2_000
# When the first new command has waited so long, those that come now are refused at once: so the queue is as long as
# what is done in that time, however fast that is.
QUEUE_SECONDS_MAX = 1.0
# A command that has waited so long for its batch is refused: a server that is so slow would not answer in time either.
WAITING_SECONDS_MAX = 2.5


@dataclass(slots=True, eq=False)
class Waiting:
    """A submission, the future that its caller waits for, and since when (by the loop's clock)."""

    submission: Submission
    future: asyncio.Future[Answer]
    since: float


class Queue:
    """The commands that wait.

    `is_patient`: no command is refused because it waits, and all are taken in the order in which they came. Otherwise
    one that has waited for `seconds_max` is refused.
    """

    def __init__(self, is_patient: bool, seconds_max: float) -> None:
        self._is_patient = is_patient
        self._seconds_max = min(WAITING_SECONDS_MAX, seconds_max)
        self._new: deque[Waiting] = deque()
        # Commands that were in a batch already: it had no room for them, or a long stream has been loaded for them.
        self._returned: deque[Waiting] = deque()
        self._news = asyncio.Event()
        self._is_closed = False
        self.overloaded = 0

    def __len__(self) -> int:
        return len(self._new) + len(self._returned)

    @property
    def is_closed(self) -> bool:
        """Whether it takes no new commands."""
        return self._is_closed

    def close(self) -> None:
        """Refuse new commands from now on."""
        self._is_closed = True
        self._news.set()

    def is_full(self) -> bool:
        """Whether a new command would be refused."""
        if len(self) >= WAITING_MAX or self._is_closed:
            return True
        if not self._new or self._is_patient:
            return False
        return self._new[0].since < asyncio.get_running_loop().time() - QUEUE_SECONDS_MAX

    def add(self, submission: Submission) -> asyncio.Future[Answer]:
        """Put a new command at the end. Raises Overloaded."""
        if self.is_full():
            self.overloaded += 1
            raise Overloaded("too many commands are waiting")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._new.append(Waiting(submission, future, loop.time()))
        self._news.set()
        return future

    def give_back(self, waiting: Waiting) -> None:
        """Take a command back whose streams have been loaded. It comes before those that are new."""
        self._returned.append(waiting)
        self._news.set()

    def put_back(self, commands: list[Waiting]) -> None:
        """Take back what a batch had no room for. It comes first, in the same order."""
        self._returned.extendleft(reversed(commands))
        if not self._is_patient:
            # Some of them were new to that batch, and others have waited here for longer.
            self._returned = deque(sorted(self._returned, key=attrgetter("since")))

    async def news(self) -> None:
        """Wait until a command comes, or the queue is closed."""
        self._news.clear()
        await self._news.wait()

    def take(self) -> list[Waiting]:
        """The commands of the next batch. Refuses those that have waited too long."""
        taken: list[Waiting] = []
        now = asyncio.get_running_loop().time()
        # However many large commands were put back, new ones have up to half of each batch.
        new_min = 0 if self._is_patient else min(len(self._new), BATCH_COMMANDS_MAX // 2)
        for line, most in ((self._returned, BATCH_COMMANDS_MAX - new_min), (self._new, BATCH_COMMANDS_MAX)):
            while line and len(taken) < most:
                waiting = line.popleft()
                # A caller who has hung up before anything was done is not served.
                if waiting.future.done():
                    continue
                if self._is_patient:
                    waiting.since = now
                elif waiting.since < now - self._seconds_max:
                    self.overloaded += 1
                    waiting.future.set_exception(Overloaded("it waited too long for its turn"))
                    continue
                taken.append(waiting)
        return taken
