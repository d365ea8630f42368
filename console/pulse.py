"""The state of the service in one look: what every page shows at its top, and the overview in full.

One look a second serves all pages of a process; the checks of the server run every ten seconds.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from anyio import from_thread

from console.database import Database, Unanswered
from console.parts import Finding, Parts
from console.words import counted, headline, parked, short
from projector.bell import NOBODY_LISTENS
from projector.parked import Group, groups
from projector.status import Standing, Status, status

LOOK_SECONDS = 1.0
CHECK_SECONDS = 10.0
# Errors that quote words of the events can make a group of each stream.
GROUPS_SHOWN_MAX = 20
# A worker looks at the log about every second.
SILENT_SECONDS = 5.0

_OF_CONDITION = {
    "database": (
        "Commands are refused until this is mended.",
        "look whether PostgreSQL runs, and whether its disk is full: `orders status` says what it answers",
    ),
    "replica": ("Reads are refused until this is mended.", "`orders doctor`"),
    "projector": ("New orders are accepted, but reads do not show them.", ""),
    "stopping": ("This process is about to end.", ""),
    "bell": ("Read tables follow up to a second later; nothing is lost.", "`orders doctor --quick` examines Redis too"),
    "commands": (
        "Commands failed, and the next ones may fail too.",
        "mend the other findings on this page, or run `orders doctor`; this one ends by itself within seconds of that",
    ),
    "tokens": ("Tokens are refused whose key this process does not know.", ""),
    "access": (
        "Callers with a new key are refused.",
        "mend what keeps the database from answering; the keys are read again by themselves",
    ),
}
# The findings about these conditions do not begin with the name: the reason already has it.
_NAMED_BY_REASON = {"bell", "commands", "access", "tokens"}

_UNREAD = "Commands are refused until this is mended; so are reads, unless a replica answers them (QUERY_DATABASE_URL)."
_HELD_BACK = "Events of parked streams are held back from the read tables; all other streams go on."
_OUTDATED = (
    "Commands are accepted. Reads of these tables are refused until a rebuild: with REBUILD=manual no worker does it."
)


class Pulse(NamedTuple):
    """How the service is. `status` is None while the database does not answer; `unanswered` then says why.

    The worst finding is the first, and causes stand before what follows from them. `redis` says in a few words how
    Redis is.
    """

    status: Status | None
    findings: list[Finding]
    parked: int
    workers: Sequence[str] | None
    redis: str
    unanswered: str

    @property
    def level(self) -> str:
        """`ok`, `warn` or `bad`, as the worst finding."""
        levels = {it.level for it in self.findings}
        return "bad" if "bad" in levels else "warn" if levels else "ok"

    @property
    def word(self) -> str:
        return {"ok": "Ready", "warn": "Needs a look", "bad": "Not well"}[self.level]

    @property
    def sentence(self) -> str:
        if not self.findings:
            return "All is well."
        what = headline(self.findings[0].public or self.findings[0].what)
        more = counted(len(self.findings) - 1, "more finding") if self.findings[1:] else ""
        return short(f"{what[:1].upper()}{what[1:]}") + (f"; and {more}." if more else ".")

    @property
    def lag_seconds(self) -> float | None:
        """How long the oldest event that a projection lacks has waited."""
        return max((it.lag.total_seconds() for it in self._standings), default=None)

    @property
    def has_worker(self) -> bool:
        """Whether a worker looked at the log just now. A restarted one needs a few seconds."""
        return self.worker_seen is not None and self.worker_seen < SILENT_SECONDS

    @property
    def without_worker(self) -> str:
        """Why no job is done, in a few words. Redis counts a worker that hangs."""
        return "No worker answers" if self.workers else "No worker runs"

    @property
    def worker_remedy(self) -> str:
        """What to do while no worker looks at the log."""
        if self.has_worker:
            return "the worker's log and `orders status` say why"
        if not self.workers:
            return "start a worker: `orders work`; if one runs, its log says why it does not look"
        last = {it.worker for it in self._standings}
        names = [it for it in self.workers if it in last] or self.workers
        host, _, pid = names[0].rpartition(":")
        return (
            f"the worker {names[0]} does not answer: end that process (on {host}: `kill -9 {pid}`), then `orders work`"
        )

    @property
    def outdated(self) -> list[str]:
        """The projections that wait for a rebuild, if nothing else is wrong with any."""
        found = [it for it in self._standings if it.trouble]
        is_all = all(it.state == "outdated" and it.version < it.projection.version and not it.failed for it in found)
        return [it.name for it in found] if is_all else []

    @property
    def worker_seen(self) -> float | None:
        """How many seconds ago a worker looked at the log; None if none has yet."""
        # A time in the future: the clock was set back since.
        return min((abs(it.now - it.seen_at).total_seconds() for it in self._standings if it.worker), default=None)

    @property
    def _standings(self) -> list[Standing]:
        return self.status.projections if self.status else []


class Heart:
    """Takes the pulse at most once a second for all callers together."""

    def __init__(self, parts: Parts, database: Database) -> None:
        self._parts = parts
        self._database = database
        self._lock = threading.Lock()
        self._pulse: Pulse | None = None
        self._taken_at = self._checked_at = -CHECK_SECONDS
        self._checked: list[Finding] = []

    def pulse(self) -> Pulse:
        """How the service is, as of a second ago at most. Runs in a worker thread of the event loop."""
        with self._lock:
            if self._pulse is None or time.monotonic() - self._taken_at >= LOOK_SECONDS:
                self._pulse = self._look()
                self._taken_at = time.monotonic()
            return self._pulse

    def _look(self) -> Pulse:
        not_ready, degraded = from_thread.run(self._parts.condition)
        workers = self._parts.workers()
        found, parked, unanswered = None, 0, ""
        of_groups: list[Finding] = []
        try:
            with self._database.connection() as connection:
                found = status(connection, self._parts.projections)
                parked = sum(it.parked for it in found.projections)
                if parked:
                    since = {it.name: it.parked_since for it in found.projections}
                    of_parked = groups(connection, self._parts.projections)
                    of_groups = [_of_group(it, since[it.projection]) for it in of_parked[:GROUPS_SHOWN_MAX]]
                    if more := len(of_parked) - len(of_groups):
                        what = counted(more, "more group of parked streams", "more groups of parked streams")
                        of_groups.append(Finding("warn", what, _HELD_BACK, "begin with the first ones", "/parked"))
                if time.monotonic() - self._checked_at >= CHECK_SECONDS:
                    self._checked = list(self._parts.examine(connection))
                    self._checked_at = time.monotonic()
        except Unanswered as error:
            unanswered = str(error)
        # The causes of parked streams are listed below. That a worker which does not run does not listen is no news.
        conditions = [
            *(("bad", name, reason) for name, reason in not_ready.items()),
            *(
                ("bad" if name == "commands" else "warn", name, reason)
                for name, reason in degraded.items()
                if name != "projector" and not (reason == NOBODY_LISTENS and "projector" in not_ready)
            ),
        ]
        if unanswered and not not_ready:
            conditions.append(("bad", "database", unanswered))
        checked = [] if unanswered else self._checked
        is_alone = len(checked) + len(conditions) + len(of_groups) == 1
        pulse = Pulse(found, [], parked, workers, _of_redis(workers, degraded), unanswered)
        of_conditions = [_of_condition(pulse, *it, is_alone, self._parts.database_log) for it in conditions]
        findings = sorted([*checked, *of_conditions, *of_groups], key=lambda it: it.level != "bad")
        return pulse._replace(findings=findings)


def _of_redis(workers: Sequence[str] | None, degraded: Mapping[str, str]) -> str:
    if workers is None:
        return "does not answer"
    if degraded.get("bell", NOBODY_LISTENS) != NOBODY_LISTENS:
        return "rejects writes"
    return f"reaches {counted(len(workers), 'worker')}"


def _of_condition(pulse: Pulse, level: str, name: str, reason: str, is_alone: bool, log: Path | None) -> Finding:
    """The finding about a condition of /readyz. `log` is that of a PostgreSQL which `orders up` runs."""
    why, remedy = _OF_CONDITION.get(name, ("", "`orders doctor`"))
    if name == "projector":
        remedy = pulse.worker_remedy
        if not is_alone and pulse.workers != []:
            remedy = f"mend the other findings on this page first; if this stays, {remedy}"
        if pulse.outdated:
            names = " and ".join(pulse.outdated)
            reason, page = f"the tables of {names} are of another release", "/projections"
            return Finding(level, reason, _OUTDATED, f"`orders replay {' '.join(pulse.outdated)}`", page)
    elif name == "database" and pulse.unanswered:
        why = _UNREAD
        if log is not None:
            data = log.with_suffix("")
            remedy = f"the end of `{log}` says why; delete nothing in `{data}`, which holds the orders"
    elif reason == NOBODY_LISTENS:
        remedy = "look whether REDIS_URL of the worker is that of the API"
    elif name == "bell":
        reason, _, remedy = reason.rpartition("; ")
    elif name == "tokens":
        reason, _, remedy = reason.rpartition(": ")
    reason = reason.rstrip(".")
    is_named = name in _NAMED_BY_REASON or reason.startswith("The ")
    return Finding(level, reason if is_named else f"{name}: {reason}", why, remedy)


def _of_group(group: Group, since: datetime | None) -> Finding:
    return Finding(
        "warn",
        parked(group),
        _HELD_BACK,
        "deploy a release that can project the event, then retry; or skip the event",
        "/parked",
        since,
        parked(group._replace(said="")),
    )
