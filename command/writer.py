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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple, Protocol

import psycopg
from psycopg import AsyncConnection

from command.states import States, rfc3339, shape_of
from eventlog import append, idempotency
from eventlog.append import Batch, NewEvent, Snapshot
from eventlog.codec import Codec, UnreadableEvent, encode
from eventlog.deadline import hung_up_after
from eventlog.events import SCHEMA_VERSIONS, Event
from eventlog.idempotency import KeptAnswer

BATCH_COMMANDS_MAX = 256
# Lines of orders, roughly events: bounds how long a batch of large orders holds the head.
BATCH_WEIGHT_MAX = 4_000
WAITING_MAX = 2_000
SNAPSHOT_EVERY_EVENTS = 32
# When other processes have appended more than this, starting afresh is cheaper than looking at what they did.
CATCH_UP_EVENTS_MAX = 10_000
FORGET_KEYS_EVERY_SECONDS = 1  # a thousand at most each time: that keeps up with the keys that arrive
# A primary that hangs must not hang its clients: each batch has this long.
BATCH_SECONDS_MAX = 10.0
# How long the outcome of a broken COMMIT is looked for before the answer is that it is not known.
RESOLVE_SECONDS_MAX = 8.0

log = logging.getLogger(__name__)


class Key(NamedTuple):
    """An Idempotency-Key: whose it is, and the hash of the request it came with."""

    caller: bytes
    key: str
    fingerprint: bytes


class Outcome(NamedTuple):
    """What a decision comes to: events in order, claims taken and given up, and how to answer once they are applied."""

    events: list[tuple[str, Event]]
    answer: Callable[[States], "Answered"]
    claimed: Mapping[str, str] = MappingProxyType({})
    released: Iterable[str] = ()


class Answered(NamedTuple):
    """The body of an answer, with the version of the resource in it."""

    status: int
    version: int | None
    location: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets. `position` is the log position that the answer includes."""

    status: int
    version: int | None
    location: str | None
    body: bytes
    position: int
    replayed: bool = False


class Command(Protocol):
    """Something to be decided."""

    @property
    def weight(self) -> int:
        """About how many events it comes to."""

    def reads(self, states: States) -> Iterable[str]:
        """The streams and claims that the decision needs, as far as `states` lets it tell."""

    def decide(self, states: States) -> Outcome:
        """The decision. Raises Refused. Changes nothing."""


@dataclass(slots=True)
class Submission:
    """A command with what belongs to it. `occurred_at` None means now; `metadata` is JSON."""

    command: Command
    metadata: bytes
    key: Key | None = None
    occurred_at: datetime | None = None


class KeyReused(Exception):
    """The Idempotency-Key was used for another request."""


class Overloaded(Exception):
    """Too many commands are waiting; this one was not tried."""


class Unavailable(Exception):
    """The database cannot be reached; nothing was appended."""


class OutcomeUnknown(Exception):
    """The connection broke at COMMIT and the log cannot be asked: the command may or may not have been accepted."""


@dataclass(slots=True, eq=False)
class _Waiting:
    submission: Submission
    future: asyncio.Future[Answer]


@dataclass(slots=True)
class _Decided:
    """A batch, decided: what to append, and what to tell whom when it is in the log."""

    batch: Batch = field(default_factory=Batch)
    answers: list[tuple[_Waiting, Answer]] = field(default_factory=list)
    refusals: list[tuple[_Waiting, Exception]] = field(default_factory=list)


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
        self._waiting: deque[_Waiting] = deque()
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
        self._waiting.append(_Waiting(submission, future))
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

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        weight = 0
        while self._waiting and len(taken) < BATCH_COMMANDS_MAX and weight < BATCH_WEIGHT_MAX:
            waiting = self._waiting.popleft()
            weight += waiting.submission.command.weight
            # A caller who has hung up before anything was done is not served.
            if not waiting.future.done():
                taken.append(waiting)
        return taken

    async def _write(self, taken: list[_Waiting]) -> None:
        """Decide and append one batch, and answer everyone in it, whatever happens."""
        decided: _Decided | None = None
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

    def _accepted(self, decided: _Decided) -> None:
        self._states.position += len(decided.batch.events)
        self._states.trim()
        if decided.batch.events:
            self._rang()
        self._answer(decided)

    async def _failed(self, taken: list[_Waiting], sent: _Decided | None, error: Exception) -> None:
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
        if self._connection is None or self._connection.broken:
            self._connection = await append.connect(self._database_url)
            self._states.clear()
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await self._connection.close()
            self._connection = None

    async def _decide(self, connection: AsyncConnection, taken: list[_Waiting]) -> _Decided:
        """Take the head, load what is missing, and decide each command of the batch."""
        states = self._states
        head = await append.take_head(connection)
        if head.position != states.position:
            if head.position - states.position > CATCH_UP_EVENTS_MAX:
                states.clear()
            else:
                states.forget(await append.changed_streams(connection, states.position, head.position))
            states.position = head.position
        kept = await self._kept_answers(connection, taken)
        while missing := self._missing(taken):
            await states.load(connection, missing)

        decided = _Decided()
        now = self._now()
        for waiting in taken:
            self._decide_one(waiting, decided, kept, head.position, now)
        if decided.answers and self._time_to_forget_keys(now):
            decided.batch.forget_keys_at = now
        return decided

    def _missing(self, taken: list[_Waiting]) -> set[str]:
        """The streams and claims that the commands need and that are not known yet."""
        missing: set[str] = set()
        for waiting in taken:
            # What cannot be read concerns its own command alone, whose decision says so.
            with contextlib.suppress(UnreadableEvent):
                missing.update(it for it in waiting.submission.command.reads(self._states) if it not in self._states)
        return missing

    def _decide_one(
        self,
        waiting: _Waiting,
        decided: _Decided,
        kept: dict[tuple[bytes, str], KeptAnswer],
        base: int,
        now: datetime,
    ) -> None:
        submission = waiting.submission
        key = submission.key
        if key is not None and (before := kept.get((key.caller, key.key))):
            if before.fingerprint != key.fingerprint:
                decided.refusals.append((waiting, KeyReused()))
                return
            _, _, _, status, location, version, position, body = before
            decided.answers.append((waiting, Answer(status, version, location, body, position, replayed=True)))
            return

        try:
            outcome = submission.command.decide(self._states)
        except Exception as refusal:  # noqa: BLE001 - a decision changes nothing: what ails one ails no other
            decided.refusals.append((waiting, refusal))
            return
        occurred_at = submission.occurred_at or now
        self._apply(outcome, decided.batch, occurred_at, submission.metadata)
        answered = outcome.answer(self._states)
        answer = Answer(*answered, base + len(decided.batch.events))
        decided.answers.append((waiting, answer))
        if key is not None:
            new = KeptAnswer(*key, answer.status, answer.location, answer.version, answer.position, answer.body)
            kept[key.caller, key.key] = new
            decided.batch.answers.append(new)

    def _apply(self, outcome: Outcome, batch: Batch, occurred_at: datetime, metadata: bytes) -> None:
        """Let an outcome be what the next command of the batch sees."""
        at = rfc3339(occurred_at)
        for stream, event in outcome.events:
            entity = self._states.evolve(stream, event, at)
            kind = type(event)
            data = encode(event)
            batch.events.append(
                NewEvent(stream, entity.version, kind.__name__, SCHEMA_VERSIONS[kind], occurred_at, data, metadata)
            )
            if entity.version % SNAPSHOT_EVERY_EVENTS == 0:
                batch.snapshots[stream] = Snapshot(entity.version, shape_of(stream), encode(entity.state))
        for claim in outcome.released:
            self._states.set_owner(claim, None)
            if batch.claimed.pop(claim, None) is None:
                batch.released.add(claim)
        for claim, owner in outcome.claimed.items():
            self._states.set_owner(claim, owner)
            batch.claimed[claim] = owner

    async def _kept_answers(
        self, connection: AsyncConnection, taken: list[_Waiting]
    ) -> dict[tuple[bytes, str], KeptAnswer]:
        wanted = {(key.caller, key.key) for each in taken if (key := each.submission.key)}
        found = await idempotency.find(connection, wanted) if wanted else []
        return {(kept.caller, kept.key): kept for kept in found}

    def _time_to_forget_keys(self, now: datetime) -> bool:
        last = self._keys_forgotten_at
        if last is not None and (now - last).total_seconds() < FORGET_KEYS_EVERY_SECONDS:
            return False
        self._keys_forgotten_at = now
        return last is not None

    def _answer(self, decided: _Decided) -> None:
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
