"""The service's parts that the console uses: where the data is, and the functions that answer and act."""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import Connection
from starlette.types import Scope

from access.issuing import Issued
from contract.callers import Caller
from projector.jobs.table import Wanted
from projector.projection import Projection
from timeline.reading import Selecting


class Finding(NamedTuple):
    """Something that an operator should know: what, since when, why it matters, and what to do.

    `page` is where to read more, and to act. `public` is `what` without an error that may quote a person; None: `what`
    has no such error.
    """

    level: str  # "bad" or "warn"
    what: str
    why: str
    remedy: str
    page: str | None = None
    since: datetime | None = None
    public: str | None = None


class Setting(NamedTuple):
    """A setting by the name of its variable. `source` says where its value comes from; no value holds a secret."""

    name: str
    value: str
    source: str
    meaning: str


class Version(NamedTuple):
    """A program or library of the service. `oldest` is the oldest version that it works with; None: no limit."""

    name: str
    version: str
    oldest: str | None = None


@dataclass(frozen=True)
class Parts:
    """`reads` answers questions about the past. `prefix` is what a proxy puts in front of the paths.

    `condition` says by name what keeps the service from its work, and what it goes on beside. `examine` runs the quick
    checks whose names are `checks`. `workers` names the workers that Redis reaches; None: Redis does not answer.
    `admit` lets a caller in who may look, or raises Problem. `ask` records a job that an actor wants, and returns its
    id; service/jobs.py says what it raises. `use_link` uses up the token of a sign-in link, and returns a new key;
    None: it was used, or has expired. `versions` takes PostgreSQL's version, or why it is unknown. `is_secure`:
    browsers reach the console by https alone. `database_log` is that of the PostgreSQL that `orders up` runs, if it is
    that one.
    """

    database_url: str
    projections: Sequence[Projection]
    reads: Selecting
    condition: Callable[[], Coroutine[Any, Any, tuple[Mapping[str, str], Mapping[str, str]]]]
    checks: Sequence[str]
    examine: Callable[[Connection], Iterable[Finding]]
    workers: Callable[[], Sequence[str] | None]
    admit: Callable[[Scope], Coroutine[Any, Any, Caller]]
    ask: Callable[[Mapping[str, str], Wanted], Coroutine[Any, Any, str]]
    use_link: Callable[[str], Coroutine[Any, Any, Issued | None]]
    settings: Sequence[Setting]
    versions: Callable[[str], Iterable[Version]]
    prefix: str
    is_secure: bool
    database_log: Path | None
