"""A mirror at work: it catches up with the log and follows it, one projection after the other.

It asks the log for news itself, so it needs nothing but the two databases: at once while there is news, then less and
less often, down to four times a second.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import psycopg
from sqlalchemy.exc import DBAPIError

from database import sessions
from database.remedies import in_one_line
from projector.checkpoint import Fenced, OtherVersion
from projector.connecting import connect
from projector.loop import Loop, Progress
from projector.mirror import standings
from projector.mirror.building import MirrorTables
from projector.mirror.standings import Heartbeat
from projector.mirror.target import Target
from projector.mirror.writer import MirrorWriter
from projector.observing import log_parked
from projector.paging import ReadAhead
from projector.projection import Projection
from projector.retrying import Rounds
from projector.shadow import Stopped

BATCH_EVENTS_MAX = 50_000
LOOK_SECONDS, LOOK_SECONDS_MAX = 0.02, 0.25
STAND_BY_SECONDS = 1.0
AFTER_ERROR_SECONDS = 1.0

log = logging.getLogger(__name__)

Report = Callable[[Projection, Progress], None]


class TargetInUse(Exception):
    """Another mirror is at work on the target."""


class Mirror:
    """The projections of one log on one target."""

    def __init__(
        self, database_url: str, target: Target, projections: Sequence[Projection], batch_events: int = BATCH_EVENTS_MAX
    ) -> None:
        self._batch_events = batch_events
        self._database_url = database_url
        self._target = target
        self._projections = projections
        self._stopping = threading.Event()
        self._has_connected = False
        self._refusals: set[str] = set()  # of the log's database to list this mirror, as they were logged
        self._trouble = ""

    def stop(self) -> None:
        self._stopping.set()

    def catch_up(self, report: Report) -> None:
        """Make missing tables and project all that the log has.

        Raises TargetInUse, Unsuitable, OtherLog, OtherVersion, sqlalchemy.exc.DBAPIError and psycopg.Error.
        """
        with self._at_work() as loops:
            self._catch_up(loops, report)

    def rebuild(self, report: Callable[[Progress], None]) -> Progress:
        """Build the tables of the one projection anew. Raises the same."""
        with self._at_work() as (following,):
            return following.rebuild(report)

    def follow(self) -> None:
        """Catch up and follow the log until `stop`; stand by while another mirror works on the target.

        When one of the databases cannot be reached, it connects again. Raises Unsuitable, OtherLog, OtherVersion; at
        the start also DBAPIError for a wrong URL of the target, and sessions.Unsuitable for a database of the log.
        """
        while not self._stopping.is_set():
            try:
                with self._at_work() as loops:
                    pause = 0.0
                    while not self._stopping.wait(pause):
                        # A rest between batches saved CPU and added as much to the lag.
                        has_news = self._catch_up(loops)
                        pause = 0.0 if has_news else min(max(LOOK_SECONDS, 2 * pause), LOOK_SECONDS_MAX)
                        self._note("")
            except TargetInUse as error:
                self._note(f"{error}: this one stands by")
                self._stopping.wait(STAND_BY_SECONDS)
            except (DBAPIError, Fenced, psycopg.OperationalError) as error:
                is_wrong = isinstance(getattr(error, "orig", error), sessions.Unsuitable)
                is_wrong |= isinstance(error, DBAPIError) and not self._target.is_away(error)
                if is_wrong and not self._has_connected:
                    raise
                self._note(f"{self._said(error)}: trying again")
                self._stopping.wait(AFTER_ERROR_SECONDS)

    def _note(self, trouble: str) -> None:
        """Log a trouble once, and its end, which is no trouble."""
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        elif self._trouble and not trouble:
            log.info("the mirror goes on")
        self._trouble = trouble

    def _said(self, error: Exception) -> str:
        if isinstance(error, psycopg.Error):
            return in_one_line(error)
        return self._target.said(error) if isinstance(error, DBAPIError) else str(error).partition("\n")[0]

    @contextmanager
    def _listing_failures(self) -> Iterator[None]:
        """Record why the mirror stands still, where `orders status` looks, and raise the same."""
        names = [projection.name for projection in self._projections]
        try:
            yield
        except (KeyboardInterrupt, Exception) as error:
            is_away = isinstance(error, psycopg.OperationalError) and not self._has_connected
            if not is_away and not isinstance(error, TargetInUse):
                why = self._said(error) if isinstance(error, Exception) else None
                with suppress(psycopg.Error), connect(self._database_url) as log_connection:
                    standings.end(log_connection, self._target.listed, names, why)
            raise

    @contextmanager
    def _at_work(self) -> Iterator[list["_Following"]]:
        """The projections, with their tables, as the only mirror at work on the target."""
        with self._listing_failures(), ExitStack() as stack:
            stack.callback(self._target.close)
            log_connection = stack.enter_context(connect(self._database_url))
            writing = stack.enter_context(self._target.writing())
            with writing.begin():
                self._target.check(writing)
            self._has_connected = True
            if not self._target.take_soon(writing):
                raise TargetInUse(f"another mirror is at work on {self._target.shown}")
            loops = []
            for projection in self._projections:
                tables = MirrorTables(self._target, writing, projection, log_connection)
                tables.prepare()
                ahead = stack.enter_context(ReadAhead(self._database_url, projection))
                loops.append(_Following(tables, ahead, self._batch_events, self._refusals))
            yield loops
            for following in loops:
                following.end()

    def _catch_up(self, loops: Sequence["_Following"], report: Report | None = None) -> bool:
        """Project batches of all projections by turns, until none is behind; whether there was something to project."""
        had_news, is_busy = False, True
        while is_busy and not self._stopping.is_set():
            is_busy = False
            for following in loops:
                if following.is_resting:
                    continue
                progress = following.project(partial(self._meanwhile, loops, following))
                if report is not None:
                    report(following.projection, progress)
                if progress.events:
                    had_news = True
                    is_busy = is_busy or progress.lag > 0
                if not progress.lag:
                    following.retry_parked()
        return had_news

    def _meanwhile(self, loops: Sequence["_Following"], rebuilt: "_Following") -> None:
        """While one projection is rebuilt, the others are listed as at work. Raises Stopped."""
        if self._stopping.is_set():
            raise Stopped
        for following in loops:
            if following is not rebuilt:
                following.beat_if_due()


class _Following:
    def __init__(self, tables: MirrorTables, ahead: ReadAhead, batch_events: int, refusals: set[str]) -> None:
        self.projection, self._log = tables.projection, tables.log
        self._tables, self._ahead, self._batch_events = tables, ahead, batch_events
        self._writer = MirrorWriter(tables.target, tables.connection, tables.projection)
        self._loop = Loop(self.projection, read_page=ahead.page, writer=self._writer)
        self._target = tables.target.listed
        self._heartbeat = Heartbeat(self._target, self.projection, refusals)
        self._rounds = Rounds()
        self._rests_until = 0.0
        self._is_complete = False

    @property
    def is_resting(self) -> bool:
        """Whether the projection need not be current yet: it rests after a batch, which saves work."""
        return time.monotonic() < self._rests_until

    def project(self, meanwhile: Callable[[], None]) -> Progress:
        """Project the next batch, or rebuild tables of an older version, with `meanwhile` after each batch.

        Raises OtherLog, and OtherVersion for a newer version.
        """
        try:
            progress = self._loop.project(self._log, self._batch_events)
        except OtherVersion as other:
            if other.built > other.ours:
                raise
            log.info("%s: rebuilding them", other)
            try:
                return self.rebuild(lambda _: meanwhile())
            except Stopped:
                return Progress(0, 0, 0)
        if not progress.lag and not self._is_complete:
            # After the first fill; after a start it finds out whether the indexes are there.
            self._tables.complete()
            self._is_complete = True
        if progress.events and not progress.lag:
            self._rests_until = time.monotonic() + self.projection.rest_seconds
        log_parked(lambda: self._log, self.projection.name, progress)
        self.beat_if_due()
        return progress

    def beat_if_due(self) -> None:
        if self._heartbeat.is_due:
            self._beat()

    def end(self) -> None:
        """Record that the mirror ends in order, and where."""
        self._beat()
        standings.end(self._log, self._target, [self.projection.name])

    def rebuild(self, report: Callable[[Progress], None]) -> Progress:
        """Build the tables anew."""

        def beat(progress: Progress) -> None:
            if self._heartbeat.is_due:
                self._heartbeat.beat_of_rebuild(self._log, progress.position)
            report(progress)

        return self._tables.rebuild(self._ahead, beat)

    def retry_parked(self) -> None:
        """Retry all parked streams, after the start and then once a minute: their cause may be gone."""
        while self._rounds.go_on(self._log, self._loop):
            self.beat_if_due()

    def _beat(self) -> None:
        with suppress(OtherVersion):  # it waits for its rebuild, or was stopped in the middle of it
            seen = self._writer.look(self._log)
            self._heartbeat.beat(self._log, seen.position, seen.parked)
