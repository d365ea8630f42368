"""Runs the jobs, in a thread of the worker: one at a time, in one worker of all.

The right to run jobs is an advisory lock of PostgreSQL that the session of this thread holds. It ends with the session,
so a killed worker loses it at once, and the next worker takes up the unfinished job. If a machine vanishes, PostgreSQL
notices by TCP keep-alives within 25 seconds, and ends the session.
"""

import logging
import threading
import time
from collections.abc import Sequence

import psycopg
from psycopg import Connection

from database import sessions
from database.remedies import in_one_line
from database.sessions import Limits
from projector.checkpoint import WORKER, AheadOfLog, OtherVersion
from projector.dependents import InTheWay
from projector.jobs import acts, table
from projector.jobs.table import Job
from projector.loop import Progress
from projector.projection import Projection
from projector.replay import SwapRefused
from projector.shadow import Busy, Report, Stopped

LOOK_SECONDS = 1.0
PROGRESS_SECONDS = 0.5
# A job whose worker ended so often is likely to be the reason.
ATTEMPTS_MAX = 3
STOP_SECONDS_MAX = 1.0
STATEMENT_SECONDS_MAX = 10.0

# Any constant will do that no other lock of ours has.
LOCK = 0x6F72_6465_726A
_TAKE = "SELECT pg_try_advisory_lock(%s)"
_NOTICE_DEATH = b"""
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3
"""

log = logging.getLogger(__name__)


class Runner:
    """Looks for jobs once a second, from a thread of its own."""

    def __init__(self, database_url: str, projections: Sequence[Projection]) -> None:
        self._database_url = database_url
        self._projections = projections
        self._connection: Connection | None = None
        self._is_ours = False
        self._has_failed = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End at the next batch of the job that is under way. It waits for the next worker then."""
        self._stopping.set()

    def close(self) -> None:
        """Give the connection back, after `stop`. A job that does not end in time is left to the next worker."""
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS_MAX)
        if not self._thread.is_alive():
            self._hang_up()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self._look()
                self._has_failed = False
            except psycopg.Error as error:
                if not self._has_failed:
                    log.warning("the jobs of operators cannot be read: %s", in_one_line(error))
                self._has_failed = True
                self._hang_up()

    def _look(self) -> None:
        """Run all open jobs, if this worker has the right to. Raises psycopg.Error."""
        connection = self._connected()
        if not self._is_ours:
            ((self._is_ours,),) = connection.execute(_TAKE, (LOCK,)).fetchall()
        while self._is_ours and not self._stopping.is_set() and (job := table.claim(connection, WORKER)):
            self._do(connection, job)

    def _do(self, connection: Connection, job: Job) -> None:
        """Run a job to its end. Raises psycopg.OperationalError; then it is tried again."""
        title = job.wanted.title
        if job.attempts > ATTEMPTS_MAX:
            said = f"{ATTEMPTS_MAX} workers ended in the middle of it; the log of the last, {job.worker}, says why"
            table.finish(connection, job.id, {"said": said}, failed=True)
            return
        log.info("job %s begins: %s, asked for by %s", job.id, title, job.asked_by)
        try:
            outcome = acts.perform(self._database_url, self._projections, job, self._reporter(connection, job))
        except Stopped:
            table.give_back(connection, job.id)
        except psycopg.OperationalError:
            raise  # a restart of the server
        except Exception as error:
            # The thread must go on after any error.
            ours = not isinstance(error, _EXPECTED)
            said = f"{type(error).__name__}: {error}".splitlines()[0] if ours else str(error)
            if isinstance(error, psycopg.Error):
                said = in_one_line(error)
            log.error("job %s failed: %s", job.id, said, exc_info=ours)  # noqa: TRY400 - an expected one is no bug
            table.finish(connection, job.id, {"said": said}, failed=True)
        else:
            log.info("job %s is done: %s", job.id, outcome.said)
            table.finish(connection, job.id, outcome._asdict())

    def _reporter(self, connection: Connection, job: Job) -> Report:
        next_at = 0.0

        def report(progress: Progress) -> None:
            nonlocal next_at
            if self._stopping.is_set():
                raise Stopped
            if time.monotonic() >= next_at:
                next_at = time.monotonic() + PROGRESS_SECONDS
                table.note_progress(connection, job.id, progress.position, progress.head)

        return report

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._is_ours = False
            limits = Limits(statement=STATEMENT_SECONDS_MAX)
            self._connection = sessions.connect(self._database_url, "orders jobs", limits)
            self._connection.execute(_NOTICE_DEATH, prepare=False)
        return self._connection

    def _hang_up(self) -> None:
        self._is_ours = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_EXPECTED = (acts.Refused, AheadOfLog, Busy, InTheWay, OtherVersion, SwapRefused, psycopg.Error)
