"""What was sent to the service and what it answered: the record that the checker judges it by. Threads may share it.

Each command goes out with a tag of its own as X-Request-Id, in each of its attempts. The service keeps that in the
metadata of every event, so each event of the log leads back to the command that made it.
"""

import itertools
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import httpx

TAG_HEADER = "X-Request-Id"


class Outcome(Enum):
    """What the sender may believe after one attempt, or after all of them."""

    ACKNOWLEDGED = auto()
    REJECTED = auto()  # it was refused, or never arrived: it must not be in the log
    UNKNOWN = auto()


# Answers that leave it open whether the command was done. Every other problem says that it was not.
UNDECIDED = {"outcome-unknown"}

KINDS = [
    ("POST", r"/users", "register-user"),
    ("PUT", r"/users/[^/]+", "change-user"),
    ("DELETE", r"/users/[^/]+", "delete-user"),
    ("POST", r"/products", "add-product"),
    ("PUT", r"/products/[^/]+", "change-product"),
    ("DELETE", r"/products/[^/]+", "discontinue-product"),
    ("POST", r"/products/[^/]+/stock", "adjust-stock"),
    ("POST", r"/orders", "place-order"),
    ("POST", r"/orders/[^/]+/cancel", "cancel-order"),
]


@dataclass(frozen=True)
class Attempt:
    """One sending of a command. Times are time.monotonic(); `status` None means that no answer came."""

    sent_at: float
    ended_at: float
    outcome: Outcome
    status: int | None = None
    code: str | None = None  # of the problem
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    content: bytes = b""
    body: Any = None  # the JSON answered

    @property
    def version(self) -> int | None:
        """The resource's, as answered."""
        return int(self.headers["etag"].strip('"')) if "etag" in self.headers else None

    @property
    def position(self) -> int:
        """The Sync-Token answered."""
        return int(self.headers["sync-token"])

    @property
    def replayed(self) -> bool:
        """Whether this is the answer to an earlier attempt."""
        return "idempotency-replayed" in self.headers

    @property
    def location(self) -> str | None:
        return self.headers.get("location")


@dataclass
class Command:
    """What was asked for, with all attempts at it."""

    tag: str
    kind: str
    method: str
    path: str
    body: dict[str, Any] | None
    key: str | None
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """What all attempts together tell: one acknowledgement is enough, one doubt leaves it open."""
        outcomes = {attempt.outcome for attempt in self.attempts}
        for outcome in (Outcome.ACKNOWLEDGED, Outcome.UNKNOWN):
            if outcome in outcomes:
                return outcome
        return Outcome.REJECTED if outcomes else Outcome.UNKNOWN

    @property
    def acknowledged(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.outcome is Outcome.ACKNOWLEDGED]

    def __str__(self) -> str:
        return f"{self.tag} ({self.kind})"


@dataclass(frozen=True)
class Read:
    """A GET of one resource that was answered with it; `token` is the Sync-Token that it was sent with."""

    path: str
    token: int | None
    version: int
    position: int
    body: Any


class History:
    """All commands and reads of a run, and how many commands have been acknowledged so far.

    `prefix` keeps the tags of several histories of one log apart.
    """

    def __init__(self, prefix: str = "") -> None:
        self.commands: dict[str, Command] = {}
        self.acknowledged = 0
        self.reads: list[Read] = []
        self._prefix = prefix
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def command(self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None) -> Command:
        """A new command, under a new tag. To be made before it is sent, so that nothing is sent that is not here."""
        kind = next(kind for known, pattern, kind in KINDS if known == method and re.fullmatch(pattern, path))
        with self._lock:
            tag = f"{self._prefix}{kind}-{next(self._numbers)}"
            command = self.commands[tag] = Command(tag, kind, method, path, body, key)
        return command

    def record(self, command: Command, attempt: Attempt) -> Attempt:
        with self._lock:
            if attempt.outcome is Outcome.ACKNOWLEDGED and not command.acknowledged:
                self.acknowledged += 1
            command.attempts.append(attempt)
        return attempt

    def record_read(self, read: Read) -> None:
        with self._lock:
            self.reads.append(read)

    def count(self, outcome: Outcome) -> int:
        with self._lock:
            return sum(command.outcome is outcome for command in self.commands.values())


def send(http: httpx.Client, history: History, command: Command, headers: Mapping[str, str] | None = None) -> Attempt:
    """Send a command once, and record what came of it. Raises nothing of the network's."""
    sent = {TAG_HEADER: command.tag, **(headers or {})}
    if command.key is not None:
        sent["Idempotency-Key"] = command.key
    started = time.monotonic()
    try:
        answer = http.request(command.method, command.path, json=command.body, headers=sent)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        # It never left.
        return history.record(command, Attempt(started, time.monotonic(), Outcome.REJECTED, code="no-connection"))
    except httpx.TransportError as error:
        code = type(error).__name__
        return history.record(command, Attempt(started, time.monotonic(), Outcome.UNKNOWN, code=code))
    return history.record(command, answered(answer, started))


def answered(answer: httpx.Response, sent_at: float) -> Attempt:
    """An answer as an attempt."""
    body = answer.json() if "json" in answer.headers.get("content-type", "") else None
    code = None if answer.is_success or body is None else str(body["code"])
    # What is no problem document is not the service's own word.
    undecided = Outcome.UNKNOWN if code is None or code in UNDECIDED else Outcome.REJECTED
    outcome = Outcome.ACKNOWLEDGED if answer.is_success else undecided
    headers = dict(answer.headers)
    return Attempt(sent_at, time.monotonic(), outcome, answer.status_code, code, headers, answer.content, body)
