"""What the service hands to the console: where the data is, and the functions that answer and act."""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from psycopg import Connection
from starlette.types import Scope

from contract.callers import Caller
from projector.jobs.table import Wanted
from projector.projection import Projection
from timeline.reading import Selecting


class Condition(Protocol):
    """Whether the service does its work: by name, what keeps it from that, and what it goes on beside."""

    @property
    def not_ready(self) -> Mapping[str, str]: ...

    @property
    def degraded(self) -> Mapping[str, str]: ...


class Found(Protocol):
    """Something that is wrong, and its remedy: a sentence each, without full stops."""

    @property
    def what(self) -> str: ...

    @property
    def remedy(self) -> str: ...

    @property
    def since(self) -> datetime | None: ...


class Check(Protocol):
    """A quick look at one thing; it yields as many findings as there are."""

    @property
    def name(self) -> str: ...

    @property
    def why(self) -> str: ...

    @property
    def run(self) -> Callable[[Connection], Iterable[Found]]: ...


@dataclass(frozen=True)
class Parts:
    """`checks` are quick ones. `workers` names the workers that Redis reaches; None: Redis does not answer.

    `ask` records a job that a caller wants, and returns its id; service/jobs.py says what it raises.
    `key_of_link` uses up the token of a sign-in link, and returns an API key; None: it was used, or has expired.
    `settings` are name, value and source, without secrets. `reads` answers questions about the past. `prefix` is what a
    proxy puts in front of the paths. `admit` lets a caller in who may look, or raises Problem. `is_secure`: browsers
    reach the console by https alone.
    """

    database_url: str
    projections: Sequence[Projection]
    reads: Selecting
    condition: Callable[[], Coroutine[Any, Any, Condition]]
    admit: Callable[[Scope], Coroutine[Any, Any, Caller]]
    ask: Callable[[Caller, Wanted], Coroutine[Any, Any, str]]
    key_of_link: Callable[[str], Coroutine[Any, Any, str | None]]
    checks: Sequence[Check] = ()
    workers: Callable[[], Sequence[str] | None] = list
    settings: Sequence[tuple[str, str, str]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    is_secure: bool = False
