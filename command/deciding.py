"""Decides the commands of a batch one after another; each sees what the earlier ones did. Needs no database."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from command.domain.refusals import Refused
from command.states import NotLoaded, States, is_order, shape_of
from command.submission import Answer, KeyReused, Outcome, Submission
from command.waiting import Waiting
from contract.times import rfc3339
from eventlog.batch import Batch, NewEvent
from eventlog.codec import UnreadableEvent, encode
from eventlog.idempotency import KeptAnswer
from eventlog.snapshots import Snapshot

# A stream is loaded from its last snapshot and the events behind it: usually fewer than this. A command of a thousand
# lines loads as many streams while it holds the head, so these events make others wait.
SNAPSHOT_EVERY_EVENTS = 8
# A batch that reads and writes this much is full, so the writer holds the head for about a twentieth of a second. Only
# the last large command of a batch can exceed that. Nobody waits for a row of an import, so its batches are larger.
BATCH_ROWS_MAX = 1_000
IMPORT_ROWS_MAX = 2_000
BATCH_BYTES_MAX = 2 * 1024**2
# The writer still decides commands that read at most this many streams when the batch is full. So a small order does
# not wait for all the large commands that came before it.
SMALL_READS_MAX = 20


@dataclass(slots=True)
class Decided:
    """A batch, filled command by command: the events to append, and the answer to send to each caller afterwards.

    `base` is the log's last position before the batch. `answered` are the answers that the log or the batch has under
    (caller, Idempotency-Key). `in_order`, for imports: when one command has to wait for a later batch, all commands
    behind it do too. `small_only`: the batch takes no large commands.
    """

    base: int
    now: datetime
    answered: dict[tuple[bytes, str], KeptAnswer]
    in_order: bool = False
    small_only: bool = False
    began_at: float = 0.0  # by the loop's clock
    batch: Batch = field(default_factory=Batch)
    answers: list[tuple[Waiting, Answer]] = field(default_factory=list)
    refusals: list[tuple[Waiting, Exception]] = field(default_factory=list)
    # Commands that wait until the loader has read long streams for them, each with those streams.
    deferred: list[tuple[Waiting, set[str]]] = field(default_factory=list)
    # Commands that wait for the next batch because this one is full.
    put_back: list[Waiting] = field(default_factory=list)
    # The first command put back needs more orders than one batch reads. The next batch keeps those loaded so far.
    reads_on: bool = False
    # The size of the batch. Each event to append is a row, and so is each stream that was loaded, or that a command
    # without events reads: one that is refused or only tried. The bytes are those of the events, the answers and what
    # was loaded.
    rows: int = 0
    data_bytes: int = 0
    snapshot_bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether the batch takes no more large commands. It always takes the first one."""
        rows_max = IMPORT_ROWS_MAX if self.in_order else BATCH_ROWS_MAX
        return (self.rows >= rows_max or self.data_bytes >= BATCH_BYTES_MAX) and bool(
            self.answers or self.refusals or self.deferred
        )

    def admit(self, commands: Sequence[Waiting], states: States) -> Sequence[Waiting]:
        """Return those of the next commands that fit into this batch, and record the others as put back or deferred."""
        if self.in_order and self.deferred:
            self.deferred += [(waiting, set()) for waiting in commands]
            return ()
        if not (self.small_only or self.is_full or (self.in_order and self.put_back)):
            return commands
        admitted = [] if self.in_order else [it for it in commands if self.has_answer(it) or is_small(it, states)]
        small = set(admitted)
        self.put_back += [it for it in commands if it not in small]
        return admitted

    def has_answer(self, waiting: Waiting) -> bool:
        """Whether the log has an answer under the command's Idempotency-Key, so that there is nothing to decide."""
        key = waiting.submission.key
        return key is not None and (key.caller, key.key) in self.answered


def decide(commands: Sequence[Waiting], decided: Decided, states: States) -> None:
    """Decide the next commands in order, letting each see what the earlier ones did.

    A command whose streams are not loaded yet is deferred. When the batch is full, large commands are put back.
    """
    for waiting in commands:
        if decided.admit((waiting,), states):
            _decide_one(waiting, decided, states)


def is_small(waiting: Waiting, states: States) -> bool:
    """Whether a command has few lines and reads no order, which may have many."""
    try:
        reads = tuple(islice(waiting.submission.command.reads(states), SMALL_READS_MAX + 1))
    except (UnreadableEvent, NotLoaded):
        return True  # deciding it appends nothing
    return len(reads) <= SMALL_READS_MAX and not any(map(is_order, reads))


def _decide_one(waiting: Waiting, decided: Decided, states: States) -> None:
    submission = waiting.submission
    key = submission.key
    if key is not None and (before := decided.answered.get((key.caller, key.key))):
        if before.fingerprint != key.fingerprint:
            decided.refusals.append((waiting, KeyReused()))
            return
        _, _, _, status, location, version, position, body = before
        if body is None:  # the bodies of the answers before it were large; the next batch reads this one
            decided.put_back.append(waiting)
            return
        decided.answers.append((waiting, Answer(status, version, location, body, position, replayed=True)))
        return

    try:
        outcome = submission.command.decide(states)
    except NotLoaded as error:
        decided.deferred.append((waiting, _not_loaded(submission, states) | {error.stream}))
        return
    except Exception as refusal:  # noqa: BLE001 - a decision changes nothing, so a bug in one fails only its own command
        if isinstance(refusal, Refused | UnreadableEvent):
            # With its traceback it would keep the command in memory until a garbage collection.
            refusal.__traceback__ = None
        decided.refusals.append((waiting, refusal))
        decided.rows += _read(submission, states)
        return
    if not outcome.events:
        decided.rows += _read(submission, states)
    _apply(outcome, decided, states, submission.occurred_at or decided.now, submission.metadata)
    position = decided.base + len(decided.batch.events)
    answer = outcome.answer(states)._replace(position=position, appended=len(outcome.events))
    decided.data_bytes += len(answer.body)
    decided.answers.append((waiting, answer))
    if key is not None:
        new = KeptAnswer(*key, answer.status, answer.location, answer.version, answer.position, answer.body)
        decided.answered[key.caller, key.key] = new
        decided.batch.answers.append(new)


def _read(submission: Submission, states: States) -> int:
    """How much a command reads. To refuse an order of a thousand lines, or to try it, takes as long as placing it."""
    with contextlib.suppress(UnreadableEvent, NotLoaded):
        return sum(1 for _ in submission.command.reads(states))
    return 0


def _not_loaded(submission: Submission, states: States) -> set[str]:
    """All streams that the command reads and that are not loaded yet."""
    with contextlib.suppress(UnreadableEvent, NotLoaded):
        return {key for key in submission.command.reads(states) if states.is_not_loaded(key)}
    return set()


def _apply(outcome: Outcome, decided: Decided, states: States, occurred_at: datetime, metadata: bytes) -> None:
    """Add the outcome of a command to the batch, and to the states that the next command sees."""
    batch = decided.batch
    at = rfc3339(occurred_at)
    decided.rows += len(outcome.events)
    for stream, event in outcome.events:
        entity = states.evolve(stream, event, at)
        new = NewEvent.of(stream, entity.version, event, occurred_at, metadata)
        decided.data_bytes += len(new.data)
        batch.events.append(new)
        # A return may name many large orders. A snapshot that is left out costs the next load a few more events.
        if entity.version % SNAPSHOT_EVERY_EVENTS == 0 and decided.snapshot_bytes < BATCH_BYTES_MAX:
            snapshot = Snapshot(entity.version, shape_of(stream), encode(entity.state))
            batch.snapshots[stream] = snapshot
            decided.snapshot_bytes += len(snapshot.state)
    for claim in outcome.released:
        states.set_owner(claim, None)
        if batch.claimed.pop(claim, None) is None:
            batch.released.add(claim)
    for claim, owner in outcome.claimed.items():
        states.set_owner(claim, owner)
        batch.claimed[claim] = owner
