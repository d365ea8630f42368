"""What the service hands to the console: where the data is, and the functions that answer and act."""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from psycopg import Connection

from projector.projection import Projection


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


class Check(Protocol):
    """A quick look at one thing; it yields as many findings as there are."""

    @property
    def name(self) -> str: ...

    @property
    def run(self) -> Callable[[Connection], Iterable[Found]]: ...


class Setting(NamedTuple):
    """A setting: its value as it may be shown, where it comes from, and its meaning."""

    name: str
    value: str
    source: str
    meaning: str


@dataclass(frozen=True)
class Parts:
    """`checks` are quick ones. `workers` names the workers that Redis reaches; None: Redis does not answer.

    `prefix` is what a proxy puts in front of the paths.
    """

    database_url: str
    projections: Sequence[Projection]
    condition: Callable[[], Coroutine[Any, Any, Condition]]
    checks: Sequence[Check] = ()
    workers: Callable[[], Sequence[str] | None] = list
    settings: Sequence[Setting] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
