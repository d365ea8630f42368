"""Group commit: the one writer of a process decides the commands that wait together, and commits them together.

So the commands of one process share the cost of a commit and never conflict; several processes queue at the log's head
instead of failing.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import psycopg
from psycopg import AsyncConnection

from command.deciding import Decided, is_small
from command.filling import fill
from command.loading import Loader
from command.metrics import WriterMetrics
from command.states import States
from command.submission import Answer, OutcomeUnknown, Submission, Unavailable, reason_for_operators
from command.waiting import WAITING_SECONDS_MAX, Queue, Waiting
from database.deadline import hung_up_after
from eventlog import append, connecting, failures
from eventlog.batch import Batch
from eventlog.codec import Codec

# When other processes have appended more than this, starting afresh is cheaper than looking at what they did.
CATCH_UP_EVENTS_MAX = 10_000
FORGET_KEYS_EVERY_SECONDS = 1  # a thousand at most each time: that keeps up with the keys that arrive
# A primary that hangs must not hang its clients. A batch has until its oldest command is so old: longer than the
# server leaves the head to a process that stands still.
BATCH_SECONDS_MAX = 5.5
# Until its oldest command is so old, the outcome of a broken COMMIT is looked for; then the answer is that it is not
# known. So everybody is answered within this time.
ANSWER_SECONDS_MAX = 7.0
ASK_AGAIN_SECONDS = 0.2

log = logging.getLogger(__name__)


class _Failure(NamedTuple):
    """Why a batch is not in the log, or may not be; `again` when it is worth another try at once."""

    verdict: Exception
    again: bool = False


class Writer:
    """The one place of a process that appends to the log.

    `is_patient`: no command is rejected because it waits, and a batch's time counts from its beginning. For callers
    that limit the commands in flight themselves. `rang` is called after each commit, to announce news, and must not
    block.
    """

    def __init__(
        self,
        database_url: str,
        rang: Callable[[], None],
        codec: Codec | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        batch_seconds_max: float = BATCH_SECONDS_MAX,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
        is_patient: bool = False,
        metrics: WriterMetrics | None = None,
    ) -> None:
        self._metrics = metrics or WriterMetrics()
        self._database_url = database_url
        self._rang = rang
        self._now = now
        self._batch_seconds_max = batch_seconds_max
        self._answer_seconds_max = answer_seconds_max
        self._is_patient = is_patient
        codec = codec or Codec()
        self._states = States(codec)
        self._queue = Queue(is_patient, batch_seconds_max)
        self._loader = Loader(database_url, codec, self._queue.give_back, None if is_patient else WAITING_SECONDS_MAX)
        self._connection: AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._keys_forgotten_at: datetime | None = None
        self._put_back = False  # the last batch was full
        self.trouble: str | None = None  # why the last batch is not in the log, for /readyz
        self.batches = 0

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="writer")

    def take_no_more(self) -> None:
        """Refuse commands from now on; what was accepted is answered all the same."""
        self._queue.close()

    async def stop(self) -> None:
        """Answer everything that was accepted, then end."""
        self.take_no_more()
        if self._task:
            await self._task
        await self._disconnect()

    @property
    def waiting(self) -> int:
        """How many commands wait for their batch, or for a long stream that is being loaded."""
        return len(self._queue) + self._loader.held

    def is_full(self) -> bool:
        """Whether a command would be refused, as too many wait or the writer is stopping."""
        return self._queue.is_full()

    def submit(self, submission: Submission) -> asyncio.Future[Answer]:
        """Hand over a command, in order.

        The future has its answer, or raises Refused, KeyReused, Unavailable, OutcomeUnknown, or a fault of decide.
        Raises Overloaded at once when too many wait, or when the writer is stopping; it may come later as well, from
        the future, when the wait gets too long.
        """
        return self._queue.add(submission)

    async def _run(self) -> None:
        while True:
            if not self._queue:
                if not self._queue.is_closed:
                    await self._queue.news()
                    continue
                await self._loader.stop()
                if not self._queue:
                    return
            if taken := self._queue.take():
                self._metrics.waited(asyncio.get_running_loop().time() - min(it.since for it in taken))
                await self._write(taken)
                if self._is_patient:
                    await self._loader.finish()  # commands keep their order

    async def _write(self, taken: list[Waiting]) -> None:
        """Decide and append one batch, and answer everyone in it, whatever happens."""
        failure = await self._try(taken)
        if failure and failure.again:
            taken = [waiting for waiting in taken if not waiting.future.done()]
            failure = await self._try(taken) if taken else None
        if failure:
            verdict = failure.verdict
            log.warning("a batch of %d commands failed: %s: %s", len(taken), type(verdict).__name__, verdict)
            self.trouble = (
                f"the last commands failed at {self._now():%Y-%m-%dT%H:%M:%SZ}: {reason_for_operators(verdict)}"
            )
            for waiting in taken:
                if not waiting.future.done():
                    waiting.future.set_exception(verdict)

    async def _try(self, taken: list[Waiting]) -> _Failure | None:
        """Decide and append one batch. None when everyone in it has been answered."""
        decided: Decided | None = None
        began = committing = False
        since = taken[0].since
        until = since + self._batch_seconds_max
        at = asyncio.get_running_loop().time()
        try:
            connection = await self._connected(until)
            with hung_up_after(_remaining(until), connection):
                began = True
                decided = await self._decide(connection, taken)
                decided.began_at = at
                self._set_aside(decided, taken)
                if decided.batch.events or decided.batch.answers:
                    committing = True
                    await append.append(connection, decided.batch)
                else:
                    await connection.execute(b"ROLLBACK")
        except Exception as error:  # noqa: BLE001 - every waiting command gets an answer, whatever the error
            broken = began and (self._connection is None or self._connection.broken)
            self._states.clear()
            await self._disconnect()  # ends whatever was begun
            if isinstance(error, append.Unreplicated):
                return _Failure(OutcomeUnknown(str(error)))
            if not broken and not failures.is_outage(error):
                return _Failure(error)
            log.warning("the database failed a batch: %s", failures.for_the_log(error))
            if committing and decided and not failures.is_rolled_back(error):
                return await self._settle(decided, since, error)
            in_time = _remaining(until) > self._batch_seconds_max / 2
            again = began and in_time and failures.is_passing(error)
            hung_up = began and _remaining(until) <= 0
            return _Failure(Unavailable(failures.TOOK_TOO_LONG) if hung_up else Unavailable.of(error), again)
        self._accepted(decided)
        return None

    def _set_aside(self, decided: Decided, taken: list[Waiting]) -> None:
        """Take undecided commands out of `taken`, so that they do not fail if this batch fails."""
        if decided.put_back or decided.deferred:
            self._queue.put_back(decided.put_back)
            for waiting, streams in decided.deferred:
                self._loader.hold(waiting, streams)
            aside = {*decided.put_back, *(waiting for waiting, _ in decided.deferred)}
            taken[:] = [it for it in taken if it not in aside]

    async def _settle(self, sent: Decided, since: float, error: Exception) -> _Failure | None:
        """Find out what became of a batch whose COMMIT may have gone out, and answer everyone if it is in the log."""
        try:
            landed = await self._landed(sent.batch, since + self._answer_seconds_max)
        except Exception as unasked:  # noqa: BLE001 - whatever kept us from asking, the answer is not known
            log.warning("the outcome of a batch is not known: %s: %s", type(unasked).__name__, unasked)
            return _Failure(OutcomeUnknown("the connection to the database broke at COMMIT"))
        if not landed:
            in_time = _remaining(since + self._batch_seconds_max) > self._batch_seconds_max / 2
            return _Failure(Unavailable.of(error), again=in_time)
        if sent.batch.events:
            self._rang()
        self._answer(sent)
        return None

    def _accepted(self, decided: Decided) -> None:
        self._states.position += len(decided.batch.events)
        self._states.trim(decided.reads_on)
        if decided.batch.events:
            self._rang()
        self._answer(decided)

    async def _landed(self, batch: Batch, until: float) -> bool:
        """Ask the log itself, until it answers or the time is up. Raises psycopg.Error, TimeoutError or OSError."""
        while True:
            try:
                connection = await self._connected(until)
                with hung_up_after(_remaining(until), connection):
                    return await append.landed(connection, batch)
            except (psycopg.Error, OSError) as error:  # TimeoutError is an OSError
                await self._disconnect()
                if not failures.is_outage(error) or _remaining(until) < ASK_AGAIN_SECONDS:
                    raise
                await asyncio.sleep(ASK_AGAIN_SECONDS)

    async def _connected(self, until: float) -> AsyncConnection:
        if self._connection is not None and connecting.has_hung_up(self._connection):
            # The server was restarted while nothing was in flight: no command fails.
            await self._disconnect()
        if self._connection is None or self._connection.broken:
            self._connection = await connecting.connect(self._database_url, _remaining(until))
            self._states.clear()
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _decide(self, connection: AsyncConnection, taken: Sequence[Waiting]) -> Decided:
        """Take the head, load what is missing, and decide each command of the batch."""
        states = self._states
        keys = dict.fromkeys((key.caller, key.key) for each in taken if (key := each.submission.key))
        head, kept = await append.take_head(connection, keys)
        if head != states.position:
            if head - states.position > CATCH_UP_EVENTS_MAX:
                states.clear()
            else:
                states.forget(await append.changed_streams(connection, states.position, head))
            states.position = head
        now = self._now()
        answered = {(answer.caller, answer.key): answer for answer in kept}
        # Small commands that came during a full batch do not wait for a second one.
        small_only = self._put_back and not self._is_patient and any(is_small(it, states) for it in taken)
        decided = Decided(head, now, answered, in_order=self._is_patient, small_only=small_only)
        await fill(decided, taken, states, connection, self._loader)
        self._put_back = bool(decided.put_back) and not small_only
        if decided.answers and self._time_to_forget_keys(now):
            decided.batch.forget_keys = True
        return decided

    def _time_to_forget_keys(self, now: datetime) -> bool:
        last = self._keys_forgotten_at
        if last is not None and (now - last).total_seconds() < FORGET_KEYS_EVERY_SECONDS:
            return False
        self._keys_forgotten_at = now
        return last is not None

    def _answer(self, decided: Decided) -> None:
        if decided.batch.events:
            self.trouble = None
        self.batches += 1
        if decided.batch.events or decided.batch.answers:
            seconds = asyncio.get_running_loop().time() - decided.began_at
            self._metrics.appended(seconds, len(decided.answers) + len(decided.refusals), decided.batch.events)
        for waiting, answer in decided.answers:
            if not waiting.future.done():
                waiting.future.set_result(answer)
        for waiting, refusal in decided.refusals:
            if not waiting.future.done():
                waiting.future.set_exception(refusal)


def _remaining(until: float) -> float:
    """The seconds until a moment of the loop's clock; 0 when it is over."""
    return max(0.0, until - asyncio.get_running_loop().time())
