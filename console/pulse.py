"""The state of the service in one look: what every page shows at its top, and the overview in full.

One look a second serves all pages of a process; the checks of the server run every ten seconds.
"""

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from anyio import from_thread

from console.database import Database, Unanswered
from console.parts import Finding, Parts
from console.words import parked, short
from projector.bell import NOBODY_LISTENS
from projector.parked import Group, groups
from projector.status import Status, status

LOOK_SECONDS = 1.0
CHECK_SECONDS = 10.0
# A worker looks at the log about every second.
SILENT_SECONDS = 5.0

_OLDEST = b"""
SELECT coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""

_OF_CONDITION = {
    "database": (
        "Commands are refused until this is mended.",
        "look whether PostgreSQL runs, and whether its disk is full: `orders status` says what it answers",
    ),
    "replica": ("Reads are refused until this is mended.", "orders doctor"),
    "projector": (
        "New orders are accepted, but reads do not show them.",
        "mend the other findings on this page first; if there is none, the worker's log and `orders status` say why",
    ),
    "stopping": ("This process is about to end.", ""),
    "bell": (
        "Read tables follow up to a second later; nothing is lost.",
        "mend what is named there; `orders doctor --quick` examines Redis too",
    ),
    "commands": (
        "Commands may be refused.",
        "mend the other faults on this page, or run `orders doctor`; the next command that succeeds clears this one",
    ),
}

_NO_WORKER = "start a worker: `orders work`; if one runs, its log says why it does not look"
_NOBODY_LISTENS = "look whether REDIS_URL of the worker is that of the API"


class Pulse(NamedTuple):
    """How the service is. `status` is None while the database does not answer; `unanswered` then says why."""

    status: Status | None
    findings: list[Finding]
    parked: int
    workers: Sequence[str] | None
    oldest_transaction: float | None
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
        worst = [it for it in self.findings if it.level == self.level]
        if len(worst) == 1:
            what = worst[0].public or worst[0].what
            return short(f"{what[:1].upper()}{what[1:]}.")
        rest = len(self.findings) - len(worst)
        return f"{len(worst)} findings need your attention" + (f", and {rest} more can wait." if rest else ".")

    @property
    def lag_seconds(self) -> float | None:
        """How long the oldest event that a projection lacks has waited."""
        if self.status is None:
            return None
        return max((it.lag.total_seconds() for it in self.status.projections), default=0.0)

    @property
    def has_worker(self) -> bool:
        """Whether a worker looked at the log just now. A restarted one needs a few seconds."""
        return self.worker_seen is not None and self.worker_seen < SILENT_SECONDS

    @property
    def worker_seen(self) -> float | None:
        """How many seconds ago a worker looked at the log."""
        if self.status is None:
            return None
        return min(((it.now - it.seen_at).total_seconds() for it in self.status.projections), default=None)


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
        findings = [_of_condition("bad", name, reason, workers) for name, reason in not_ready.items()]
        # The causes of parked streams are listed below. That a worker which does not run does not listen is no news.
        findings += [
            _of_condition("warn", name, reason, workers)
            for name, reason in degraded.items()
            if name != "projector" and not (reason == NOBODY_LISTENS and "projector" in not_ready)
        ]
        found, parked, oldest, unanswered = None, 0, None, ""
        try:
            with self._database.connection() as connection:
                found = status(connection, self._parts.projections)
                parked = sum(it.parked for it in found.projections)
                if parked:
                    since = {it.name: it.parked_since for it in found.projections}
                    of_parked = groups(connection, self._parts.projections)
                    findings += [_of_group(it, since[it.projection]) for it in of_parked]
                row = connection.execute(_OLDEST).fetchone()
                oldest = row[0] if row else None
                if time.monotonic() - self._checked_at >= CHECK_SECONDS:
                    self._checked = list(self._parts.examine(connection))
                    self._checked_at = time.monotonic()
                # Causes stand before what follows from them.
                findings = self._checked + findings
        except Unanswered as error:
            unanswered = str(error)
            if not any(it.level == "bad" for it in findings):
                findings.append(Finding("bad", unanswered.rstrip("."), *_OF_CONDITION["database"]))
        findings.sort(key=lambda it: it.level != "bad")
        return Pulse(found, findings, parked, workers, oldest, unanswered)


def _of_condition(level: str, name: str, reason: str, workers: Sequence[str] | None) -> Finding:
    why, remedy = _OF_CONDITION.get(name, ("", "orders doctor"))
    if name == "projector" and workers == []:
        remedy = _NO_WORKER
    elif reason == NOBODY_LISTENS:
        remedy = _NOBODY_LISTENS
    return Finding(level, f"{name}: {reason}", why, remedy)


def _of_group(group: Group, since: datetime | None) -> Finding:
    return Finding(
        "warn",
        parked(group),
        "Events of parked streams are held back from the read tables; all other streams go on.",
        "deploy a release that can project the event, then retry; or skip the event",
        "/parked",
        since,
        parked(group._replace(said="")),
    )
