"""Group commit: the commands that wait are decided together and committed together.

Requests open no transactions. Each hands its command to the process's one writer and waits. The writer takes what is
waiting, takes the log's head, loads the states that are not known yet, decides the commands one after another (each on
the states as the earlier ones left them), appends all their events in one statement, commits once, and answers
everyone. So the cost of a commit is shared, commands of one process never conflict, and those of several processes
queue at the head instead of failing. A refused command costs the others nothing.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
from psycopg import AsyncConnection

from command.deciding import Decided, Waiting, decide, missing
from command.states import States
from command.submission import Answer, OutcomeUnknown, Overloaded, Submission, Unavailable
from eventlog import append
from eventlog.append import NewEvent
from eventlog.codec import Codec
from eventlog.deadline import hung_up_after

BATCH_COMMANDS_MAX = 256
# Lines of orders, roughly events: bounds how long a batch of large orders holds the head.
BATCH_WEIGHT_MAX = 4_000
WAITING_MAX = 2_000
# When other processes have appended more than this, starting afresh is cheaper than looking at what they did.
CATCH_UP_EVENTS_MAX = 10_000
FORGET_KEYS_EVERY_SECONDS = 1  # a thousand at most each time: that keeps up with the keys that arrive
# A primary that hangs must not hang its clients: each batch has this long.
BATCH_SECONDS_MAX = 10.0
# How long the outcome of a broken COMMIT is looked for before the answer is that it is not known.
RESOLVE_SECONDS_MAX = 8.0

log = logging.getLogger(__name__)


class Writer:
    """The one place of a process that appends to the log.

    `rang` is called after each commit, to tell that there is news; it must not block.
    """

    def __init__(
        self,
        database_url: str,
        rang: Callable[[], None],
        codec: Codec | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        batch_seconds_max: float = BATCH_SECONDS_MAX,
        resolve_seconds_max: float = RESOLVE_SECONDS_MAX,
    ) -> None:
        self._database_url = database_url
        self._rang = rang
        self._now = now
        self._batch_seconds_max = batch_seconds_max
        self._resolve_seconds_max = resolve_seconds_max
        self._states = States(codec or Codec())
        self._waiting: deque[Waiting] = deque()
        self._news = asyncio.Event()
        self._connection: AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._keys_forgotten_at: datetime | None = None
        self.batches = 0
        self.events = 0
        self.counts = {"accepted": 0, "replayed": 0, "refused": 0, "failed": 0, "overloaded": 0}

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="writer")

    async def stop(self) -> None:
        """Answer everything that was accepted, then end."""
        self._stopping = True
        self._news.set()
        if self._task:
            await self._task
        await self._disconnect()

    @property
    def waiting(self) -> int:
        """How many commands wait for their batch."""
        return len(self._waiting)

    def submit(self, submission: Submission) -> asyncio.Future[Answer]:
        """Hand over a command, in order.

        The future has its answer, or raises Refused, KeyReused, Unavailable, OutcomeUnknown, or a fault of decide.
        Raises Overloaded at once when too many wait, or when the writer is stopping.
        """
        if len(self._waiting) >= WAITING_MAX or self._stopping:
            self.counts["overloaded"] += 1
            raise Overloaded
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(submission, future))
        self._news.set()
        return future

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                if self._stopping:
                    return
                self._news.clear()
                await self._news.wait()
                continue
            await self._write(self._take())

    def _take(self) -> list[Waiting]:
        taken: list[Waiting] = []
        weight = 0
        while self._waiting and len(taken) < BATCH_COMMANDS_MAX and weight < BATCH_WEIGHT_MAX:
            waiting = self._waiting.popleft()
            weight += waiting.submission.command.weight
            # A caller who has hung up before anything was done is not served.
            if not waiting.future.done():
                taken.append(waiting)
        return taken

    async def _write(self, taken: list[Waiting]) -> None:
        """Decide and append one batch, and answer everyone in it, whatever happens."""
        decided: Decided | None = None
        committing = False
        try:
            async with asyncio.timeout(self._batch_seconds_max):
                connection = await self._connected()
            with hung_up_after(self._batch_seconds_max, connection):
                decided = await self._decide(connection, taken)
                if decided.batch.events or decided.batch.answers:
                    committing = True
                    await append.append(connection, decided.batch)
                else:
                    await connection.execute(b"ROLLBACK")
        except Exception as error:  # noqa: BLE001 - whatever it is, everyone who waits is told
            await self._failed(taken, decided if committing else None, error)
            return
        self._accepted(decided)

    def _accepted(self, decided: Decided) -> None:
        self._states.position += len(decided.batch.events)
        self._states.trim()
        if decided.batch.events:
            self._rang()
        self._answer(decided)

    async def _failed(self, taken: list[Waiting], sent: Decided | None, error: Exception) -> None:
        """Find out what became of a batch that failed, and say so; `sent` is it, if its COMMIT may have gone out."""
        self._states.clear()
        lost = isinstance(error, psycopg.OperationalError | TimeoutError | OSError)
        lost = lost or self._connection is None or self._connection.broken
        await self._disconnect()  # ends whatever was begun
        verdict: Exception = Unavailable(str(error)) if lost else error
        if sent is not None and sent.batch.events and lost:
            try:
                if await self._landed(sent.batch.events[0]):
                    self._rang()
                    self._answer(sent)
                    return
            except Exception:  # noqa: BLE001 - whatever kept us from asking, the answer is not known
                verdict = OutcomeUnknown(str(error))
        log.warning("a batch of %d commands failed: %s: %s", len(taken), type(verdict).__name__, error)
        self.counts["failed"] += len(taken)
        for waiting in taken:
            if not waiting.future.done():
                waiting.future.set_exception(verdict)

    async def _landed(self, event: NewEvent) -> bool:
        """Ask the log itself, until it answers or the time is up. Raises psycopg.Error, TimeoutError or OSError."""
        async with asyncio.timeout(self._resolve_seconds_max):
            while True:
                try:
                    return await append.landed(await self._connected(), event)
                except psycopg.OperationalError:
                    await self._disconnect()
                    await asyncio.sleep(0.2)

    async def _connected(self) -> AsyncConnection:
        if self._connection is not None and append.has_hung_up(self._connection):
            # The server was restarted while nothing was under way; nobody need hear of it.
            await self._disconnect()
        if self._connection is None or self._connection.broken:
            self._connection = await append.connect(self._database_url)
            self._states.clear()
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await self._connection.close()
            self._connection = None

    async def _decide(self, connection: AsyncConnection, taken: list[Waiting]) -> Decided:
        """Take the head, load what is missing, and decide each command of the batch."""
        states = self._states
        keys = {(key.caller, key.key) for each in taken if (key := each.submission.key)}
        head, kept = await append.take_head(connection, keys)
        if head.position != states.position:
            if head.position - states.position > CATCH_UP_EVENTS_MAX:
                states.clear()
            else:
                states.forget(await append.changed_streams(connection, states.position, head.position))
            states.position = head.position
        while unknown := missing(taken, states):
            await states.load(connection, unknown)
        now = self._now()
        decided = decide(taken, states, kept, head.position, now)
        if decided.answers and self._time_to_forget_keys(now):
            decided.batch.forget_keys_at = now
        return decided

    def _time_to_forget_keys(self, now: datetime) -> bool:
        last = self._keys_forgotten_at
        if last is not None and (now - last).total_seconds() < FORGET_KEYS_EVERY_SECONDS:
            return False
        self._keys_forgotten_at = now
        return last is not None

    def _answer(self, decided: Decided) -> None:
        """Tell everyone what became of their commands, and count them."""
        self.batches += 1
        self.events += len(decided.batch.events)
        self.counts["refused"] += len(decided.refusals)
        for waiting, answer in decided.answers:
            self.counts["replayed" if answer.replayed else "accepted"] += 1
            if not waiting.future.done():
                waiting.future.set_result(answer)
        for waiting, refusal in decided.refusals:
            if not waiting.future.done():
                waiting.future.set_exception(refusal)
