"""The types that commands and the writer share: submissions, decisions, answers and rejections."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, Protocol, Self

from command.states import States
from eventlog import failures
from eventlog.events import Event


class Key(NamedTuple):
    """An Idempotency-Key: whose it is, and the hash of the request it came with."""

    caller: bytes
    key: str
    fingerprint: bytes


class Outcome(NamedTuple):
    """The result of a decision: events in order, claims taken and given up, and how to answer once they are applied."""

    events: list[tuple[str, Event]]
    answer: Callable[[States], "Answer"]
    claimed: Mapping[str, str] = MappingProxyType({})
    released: Iterable[str] = ()


class Answer(NamedTuple):
    """The answer to the caller: `body` shows the resource at `location`, as of `version`.

    The writer sets `position`, the log position that the answer includes, and `appended`, the number of new events.
    """

    status: int
    version: int | None = None
    location: str | None = None
    body: bytes = b""
    position: int = 0
    replayed: bool = False
    appended: int = 0


class Command(Protocol):
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
    """Too many commands are waiting, or they wait too long; this one was not tried."""


class Unavailable(Exception):
    """The database cannot be reached, or refuses; nothing was appended. `cause`: the reason in words for operators."""

    def __init__(self, reason: str, cause: str | None = None) -> None:
        super().__init__(reason)
        self.cause = cause or reason

    @classmethod
    def of(cls, error: Exception) -> Self:
        """The same, because of an error of PostgreSQL, or of the way to it."""
        return cls(failures.in_plain_words(error), failures.for_operators(error))


class OutcomeUnknown(Exception):
    """The connection broke at COMMIT and the log cannot be asked: the command may or may not have been accepted."""


def one_line(error: Exception) -> str:
    """The first sentence of an error, without a full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def reason_for_operators(error: Exception) -> str:
    """Why a batch failed, for /readyz. Only our own errors are quoted.

    PostgreSQL's text of another error may quote hosts and people's values.
    """
    if isinstance(error, Unavailable):
        return error.cause
    if isinstance(error, OutcomeUnknown):
        return one_line(error)
    return "a fault of the service, which the log of the API describes"
