"""Deciding a batch: each command on the states as the earlier ones left them. No database, no waiting."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from command.states import NotLoaded, States, rfc3339, shape_of
from command.submission import Answer, KeyReused, Outcome, Submission
from eventlog.append import Batch, NewEvent
from eventlog.codec import UnreadableEvent, encode
from eventlog.events import SCHEMA_VERSIONS
from eventlog.idempotency import KeptAnswer
from eventlog.snapshots import Snapshot

# A stream is loaded from its last snapshot and what came after: so many events at the most.
SNAPSHOT_EVERY_EVENTS = 32


@dataclass(slots=True, eq=False)
class Waiting:
    """A submission, the future that its caller waits for, and since when (by the loop's clock)."""

    submission: Submission
    future: asyncio.Future[Answer]
    since: float


@dataclass(slots=True)
class Decided:
    """A batch, decided: what to append, and what to tell whom when it is in the log."""

    batch: Batch = field(default_factory=Batch)
    answers: list[tuple[Waiting, Answer]] = field(default_factory=list)
    refusals: list[tuple[Waiting, Exception]] = field(default_factory=list)
    # Commands that were not decided, each with the streams that have to be loaded first.
    deferred: list[tuple[Waiting, set[str]]] = field(default_factory=list)


def missing(taken: Iterable[Waiting], states: States) -> set[str]:
    """The streams and claims that the commands need and that are not known yet."""
    keys: set[str] = set()
    for waiting in taken:
        # What cannot be read concerns its own command alone, whose decision says so.
        with contextlib.suppress(UnreadableEvent, NotLoaded):
            keys.update(key for key in waiting.submission.command.reads(states) if key not in states)
    return keys


def decide(
    taken: Iterable[Waiting],
    states: States,
    kept: Iterable[KeptAnswer],
    base: int,
    now: datetime,
    in_order: bool = False,
) -> Decided:
    """Decide the commands in order, letting each see what the earlier ones did.

    `kept` are the answers that the log has under their Idempotency-Keys, `base` is the log's last position. A command
    whose streams are not loaded yet is deferred; with `in_order`, all commands behind it are deferred too.
    """
    decided = Decided()
    answered = {(answer.caller, answer.key): answer for answer in kept}
    for waiting in taken:
        if in_order and decided.deferred:
            decided.deferred.append((waiting, set()))
            continue
        _decide_one(waiting, decided, states, answered, base, now)
    return decided


def _decide_one(
    waiting: Waiting,
    decided: Decided,
    states: States,
    answered: dict[tuple[bytes, str], KeptAnswer],
    base: int,
    now: datetime,
) -> None:
    submission = waiting.submission
    key = submission.key
    if key is not None and (before := answered.get((key.caller, key.key))):
        if before.fingerprint != key.fingerprint:
            decided.refusals.append((waiting, KeyReused()))
            return
        _, _, _, status, location, version, position, body = before
        decided.answers.append((waiting, Answer(status, version, location, body, position, replayed=True)))
        return

    try:
        outcome = submission.command.decide(states)
    except NotLoaded as error:
        decided.deferred.append((waiting, _not_loaded(submission, states) | {error.stream}))
        return
    except Exception as refusal:  # noqa: BLE001 - a decision changes nothing: what ails one ails no other
        decided.refusals.append((waiting, refusal))
        return
    _apply(outcome, decided.batch, states, submission.occurred_at or now, submission.metadata)
    answer = Answer(*outcome.answer(states), base + len(decided.batch.events))
    decided.answers.append((waiting, answer))
    if key is not None:
        new = KeptAnswer(*key, answer.status, answer.location, answer.version, answer.position, answer.body)
        answered[key.caller, key.key] = new
        decided.batch.answers.append(new)


def _not_loaded(submission: Submission, states: States) -> set[str]:
    """All streams that the command reads and that are not loaded yet."""
    with contextlib.suppress(UnreadableEvent, NotLoaded):
        return {key for key in submission.command.reads(states) if states.is_not_loaded(key)}
    return set()


def _apply(outcome: Outcome, batch: Batch, states: States, occurred_at: datetime, metadata: bytes) -> None:
    """Let an outcome be what the next command of the batch sees."""
    at = rfc3339(occurred_at)
    for stream, event in outcome.events:
        entity = states.evolve(stream, event, at)
        kind = type(event)
        batch.events.append(
            NewEvent(stream, entity.version, kind.__name__, SCHEMA_VERSIONS[kind], occurred_at, encode(event), metadata)
        )
        if entity.version % SNAPSHOT_EVERY_EVENTS == 0:
            batch.snapshots[stream] = Snapshot(entity.version, shape_of(stream), encode(entity.state))
    for claim in outcome.released:
        states.set_owner(claim, None)
        if batch.claimed.pop(claim, None) is None:
            batch.released.add(claim)
    for claim, owner in outcome.claimed.items():
        states.set_owner(claim, owner)
        batch.claimed[claim] = owner
