"""One projection, kept current by a thread of the worker: projects, retries parked streams, rebuilds old tables."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import psycopg

from database.remedies import in_one_line
from eventlog import stalled
from eventlog.failures import is_outage
from projector.bell import LONG_PAUSE_SECONDS
from projector.checkpoint import AheadOfLog, OtherVersion
from projector.dependents import InTheWay
from projector.loop import Loop, Progress
from projector.metrics import ProjectorMetrics
from projector.observing import Observer, Traced
from projector.paging import PAGE_MAX, PageMax
from projector.projection import Projection
from projector.replay import SwapRefused, replay
from projector.retrying import RETRY_SECONDS, Rounds
from projector.session import Session
from projector.shadow import Busy, Stopped
from projector.writer import PostgresWriter

SWEEP_SECONDS = 1.0
# When another worker holds the checkpoint, this one looks again after this long.
LOCKED_SECONDS = 0.02
# After a batch of so many events the follower rests for so many seconds, so that the next batch is worth its statements
# and its commit. Then it looks without being woken, because the bell rings seldom on a busy log. It goes on to do so
# until it has found nothing for longer than the bell may be silent.
BUSY_EVENTS, BUSY_SECONDS = 8, 0.006
VERY_BUSY_EVENTS, VERY_BUSY_SECONDS = 400, 0.04
BUSY_UNTIL_SECONDS = 2 * LONG_PAUSE_SECONDS
LOOK_AGAIN_SECONDS = 0.001
# Stopping waits this long for a batch, and again after its connection was cut.
CUT_OFF_SECONDS_MAX = 1.0

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Follower:
    """Keeps the tables of one projection current, from a thread of its own: a slow one does not hold the others back.

    Several processes may do so beside each other: the checkpoint lets one of them work, the others look again later.
    `rebuild`: build tables of an older version anew; otherwise that is left to `orders replay`. `retry_seconds`: how
    often parked streams are retried, and a rebuild that was refused or lacked room on the disk.
    """

    def __init__(
        self,
        database_url: str,
        projection: Projection,
        *,
        rebuild: bool = True,
        page_max: PageMax = PAGE_MAX,
        retry_seconds: float = RETRY_SECONDS,
        metrics: ProjectorMetrics | None = None,
        traced: Traced | None = None,
    ) -> None:
        self.projection = projection
        self._database_url = database_url
        self._rebuild = rebuild
        self._page_max = page_max
        self._retry_seconds = retry_seconds
        self._observer = Observer(projection.name, metrics, traced)
        self._rounds = Rounds(retry_seconds)
        self._stopping = threading.Event()
        self._session = Session(database_url, self._stopping)
        self._writer = PostgresWriter(projection)
        self._loop = self._new_loop()
        self._limit = projection.batch_events
        self._news = threading.Event()
        self._error: str | None = None
        self._stands_by = False
        self._swept_at = self._busy_until = 0.0
        self._in_the_way: Exception | None = None
        self._rebuild_at = 0.0
        self._thread = threading.Thread(target=self._run, name=f"project {projection.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._news.set()

    def stop(self) -> None:
        self._stopping.set()
        self._news.set()

    def close(self) -> None:
        """Give the connections back, after `stop`. A batch that still waits for the database is cut off."""
        if self._thread.is_alive():
            self._thread.join(CUT_OFF_SECONDS_MAX)
        if self._thread.is_alive():
            self._session.hang_up()
            self._thread.join(CUT_OFF_SECONDS_MAX)
            if self._thread.is_alive():
                return  # it waits for a new connection; the process ends without it
        self._session.close()

    def catch_up(self) -> Progress:
        """Project all that was there at the last look. Raises AheadOfLog, Fenced, OtherVersion and psycopg.Error."""
        events = 0
        while True:
            progress = self._project()
            events += progress.events
            if not progress.events or not progress.lag or self._stopping.is_set():
                return replace(progress, events=events)

    def sweep(self) -> None:
        """Catch up and do what is due every second; record a failure where `orders status` finds it."""
        self._reporting(self._sweep)

    def _run(self) -> None:
        pause = SWEEP_SECONDS
        while True:
            self._news.wait(pause)
            self._news.clear()
            if self._stopping.is_set():
                return
            progress = None
            if time.monotonic() - self._swept_at >= SWEEP_SECONDS:
                progress = self._reporting(self._sweep)
            elif self._error is None and not self._stands_by:
                progress = self._reporting(self._follow)
            pause = self._rest(progress) if progress else SWEEP_SECONDS

    def _rest(self, after: Progress) -> float:
        """Rest after some batches. Returns the seconds after which to look again without being woken."""
        if not after.events and after.lag:
            return LOCKED_SECONDS
        now = time.monotonic()
        if after.events >= BUSY_EVENTS or (after.events and now < self._busy_until):
            self._busy_until = now + BUSY_UNTIL_SECONDS
        is_busy = now < self._busy_until
        busy = VERY_BUSY_SECONDS if after.events >= VERY_BUSY_EVENTS else BUSY_SECONDS if is_busy else 0.0
        self._stopping.wait(max(busy, self.projection.rest_seconds if after.events else 0.0))
        return LOOK_AGAIN_SECONDS if is_busy else SWEEP_SECONDS

    def _follow(self) -> Progress | None:
        with contextlib.suppress(OtherVersion):  # the next sweep deals with it
            return self.catch_up()
        return None

    def _sweep(self) -> Progress | None:
        self._swept_at = time.monotonic()
        try:
            progress = self.catch_up()
        except OtherVersion as other:
            self._meet(other)
            return None
        self._stands_by = False
        if progress.lag and not progress.events:
            self._end_stalled()
        if not progress.lag:
            self._rounds.go_on(self._session.connection(), self._loop, self.catch_up)
        if not progress.events:
            self._writer.beat(self._session.connection(), progress.head)
        return progress

    def _meet(self, other: OtherVersion) -> None:
        """Rebuild tables of an older version; leave those of a newer one to the newer workers."""
        name = self.projection.name
        if other.built > other.ours:
            if not self._stands_by:
                log.warning("%s: this worker stands by", other)
            self._stands_by = True
            return
        if not self._rebuild:
            raise other
        if self._in_the_way is not None and time.monotonic() < self._rebuild_at:
            raise self._in_the_way
        log.info("%s: rebuilding them", other)

        def report(_: Progress) -> None:
            if self._stopping.is_set():
                raise Stopped

        with contextlib.suppress(Stopped):
            try:
                reached = replay(self._database_url, self.projection, report)
            except Busy:
                return  # another worker rebuilds them
            except (InTheWay, psycopg.errors.DiskFull) as error:
                self._in_the_way, self._rebuild_at = error, time.monotonic() + self._retry_seconds
                raise
            except SwapRefused as error:
                log.warning("%s was rebuilt and could not be swapped in; it is tried again: %s", name, error)
                return
            log.info("%s was rebuilt, and is at position %d", name, reached.position)
            self._loop = self._new_loop()

    def _end_stalled(self) -> None:
        """Take the checkpoint from a projector that was stopped in the middle of a batch."""
        if self._session.connection().execute(stalled.END, (f"{self.projection.name}.checkpoint",)).rowcount:
            log.warning("a projector that had stopped in the middle of a statement was ended")

    def _project(self) -> Progress:
        progress = self._project_batch()
        self._observer.committed(self._session.connection, progress)
        return progress

    def _project_batch(self) -> Progress:
        session = self._session
        try:
            progress = self._loop.project(session.connection(), self._limit)
        except psycopg.Error as error:
            if not is_outage(error):
                raise
            # A restart, or a batch that took too long. It was rolled back, and is done again with fewer events.
            self._limit = max(1, self._limit // 10)
            if session.is_open:
                raise
            progress = self._loop.project(session.connection(), self._limit)
        if progress.events:
            self._limit = min(self.projection.batch_events, self._limit * 2)
        return progress

    def _new_loop(self) -> Loop:
        return Loop(self.projection, page_max=self._page_max, writer=self._writer)

    def _reporting(self, work: Callable[[], Result]) -> Result | None:
        """Do the work. Record its failure for `orders status`; the next sweep tries again."""
        try:
            result = work()
        except Exception as error:
            # The thread must go on after any error.
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            self._observer.failed(error)
            if message != self._error:
                ours = not isinstance(error, psycopg.Error | OtherVersion | AheadOfLog | Busy | InTheWay)
                said = in_one_line(error) if isinstance(error, psycopg.Error) else message
                log.error("the projection %s stopped: %s", self.projection.name, said, exc_info=ours)  # noqa: TRY400 - a lost server is no bug
            self._error = message
            with contextlib.suppress(psycopg.Error, UnicodeError):
                self._writer.report(self._session.connection(), message)
        else:
            if self._error is not None:
                log.info("the projection %s goes on", self.projection.name)
            self._error = None
            return result
        return None
