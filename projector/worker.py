"""The projector as a Dramatiq worker: woken by the bell, and looking by itself every second should the bell be lost."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import dramatiq
import psycopg
import redis
from dramatiq import Broker, Middleware, Worker
from dramatiq.brokers.redis import RedisBroker
from psycopg import Connection

from database.deadline import hang_up
from eventlog import read, stalled
from eventlog.read import StoredEvent
from projector import bell, loop
from projector.loop import Loop, Progress, connect
from projector.parked import retry
from projector.patience import PatientConnection
from projector.read_ahead import ReadAhead
from readmodel.tables import SCHEMA

# Whoever is further behind reads ahead as well.
BATCH_EVENTS_MAX = 20_000
RETRIED_EVENTS_MAX = 1_000
STATEMENT_SECONDS_MAX = 12
BATCH_SECONDS_MAX = 60
# If this process is stopped or cut off, the server ends its work and frees its locks. A COMMIT that is cancelled while
# it waits for a standby loses nothing: the tables follow from the log.
LIMITS = replace(loop.LIMITS, statement=STATEMENT_SECONDS_MAX, transaction=BATCH_SECONDS_MAX)
SWEEP_SECONDS = 1.0
# Awake, the projector looks again after this long.
LOOK_AGAIN_SECONDS = 0.001
# On a busy log it waits a little longer, so that a batch is worth its statements and its commit.
BUSY_BATCH_EVENTS = 50
LOOK_AGAIN_BUSY_SECONDS = 0.03
# After the last event it stays awake this long, so that a steady trickle needs no messages.
LINGER_SECONDS = 0.25
# Then it lets its message go, to be woken by another: Dramatiq may want to say something to its worker.
AWAKE_SECONDS_MAX = 30.0
# How long a message waits for a sweep that is under way.
SWEEP_WAIT_SECONDS_MAX = 2.0
KEY_RENEWED_SECONDS = 1.0
# To be stopped: for the end of a batch, and again for the end of a wait that was cut off.
CUT_OFF_SECONDS_MAX = 1.0

log = logging.getLogger(__name__)


class Projector:
    """Keeps the read tables current, from whichever thread asks; one at a time.

    Several processes may do so beside each other: the checkpoint lets one of them work, the others look again later.
    """

    def __init__(self, database_url: str, client: redis.Redis | None = None) -> None:
        self._database_url = database_url
        self._redis = client
        self._loop = Loop(read_page=self._page)
        self._connection: Connection | None = None
        self._ahead: ReadAhead | None = None
        self._busy = threading.Lock()
        self._stopping = threading.Event()
        self._error: str | None = None

    def stop(self) -> None:
        """End what is going on after its batch."""
        self._stopping.set()

    def close(self) -> None:
        """Give the connections back, after `stop`. Whoever still waits for the database in a batch is cut off."""
        if not self._busy.acquire(timeout=CUT_OFF_SECONDS_MAX):
            if self._connection is not None:
                hang_up(self._connection)
            if self._ahead is not None:
                self._ahead.hang_up()
            if not self._busy.acquire(timeout=CUT_OFF_SECONDS_MAX):
                return  # it waits for a new connection; the process ends without it
        try:
            self._end_reading_ahead()
            if self._connection is not None:
                self._connection.close()
            if self._redis is not None:
                self._redis.close()
        finally:
            self._busy.release()

    def catch_up(self) -> Progress:
        """Project until a look finds nothing to do, or somebody else doing it.

        Raises psycopg.Error and Fenced.
        """
        events = 0
        while True:
            progress = self._project()
            events += progress.events
            if not progress.events or self._stopping.is_set():
                return replace(progress, events=events)

    def stay_awake(self) -> None:
        """Project until nothing has come for a while: what the bell wakes."""
        # A sweep that is under way may have looked before the news came, so it is waited for.
        if not self._busy.acquire(timeout=SWEEP_WAIT_SECONDS_MAX):
            # It is catching up, and looks again before it ends.
            self._answer_bell()
            return
        try:
            self._reporting(self._follow)
        finally:
            self._busy.release()

    def retry_parked(self) -> None:
        """Try parked streams again: this worker may be of the release that mends them."""
        with self._busy:
            self._reporting(self._retry_parked)

    def sweep(self) -> None:
        """Project what the bell has not told of, and leave word of being alive."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            self._reporting(self._sweep)
        finally:
            self._busy.release()

    def _follow(self) -> None:
        started = renewed = idle_since = time.monotonic()
        while not self._stopping.is_set():
            progress = self._project()
            now = time.monotonic()
            if progress.events or progress.lag:
                idle_since = now
            if now - idle_since > LINGER_SECONDS or (now - started > AWAKE_SECONDS_MAX and not progress.lag):
                break
            if now - renewed > KEY_RENEWED_SECONDS:
                self._with_redis(lambda client: client.expire(bell.KEY, bell.KEY_SECONDS))
                self._end_stalled(progress)
                renewed = now
            if not (progress.events and progress.lag):
                busy = progress.events >= BUSY_BATCH_EVENTS
                self._stopping.wait(LOOK_AGAIN_BUSY_SECONDS if busy else LOOK_AGAIN_SECONDS)
        self._answer_bell()
        # What comes after this look rings again. Should the work fail instead, the bell stays silent until its key
        # runs out, and the sweep tries again.
        self.catch_up()

    def _sweep(self) -> None:
        progress = self.catch_up()
        if not progress.events:
            self._end_stalled(progress)
            self._loop.beat(self._connected(), progress.head)

    def _end_stalled(self, progress: Progress) -> None:
        """Take the checkpoint from a projector that was stopped in the middle of a batch; the next look has it."""
        if progress.lag and not progress.events:
            ended = self._connected().execute(stalled.END, (f"{SCHEMA}.checkpoint",)).rowcount
            if ended:
                log.warning("a projector that had stopped in the middle of a statement was ended")

    def _retry_parked(self) -> None:
        for drained in retry(self._connected(), loop=self._loop):
            if drained.parked is None:
                log.info("%s is parked no more: %d events projected", drained.stream, drained.events)

    def _project(self) -> Progress:
        progress = self._project_batch()
        for parked in progress.parked:
            log.error("%s is parked at event %d (%s): %s", parked.stream, parked.position, parked.type, parked.error)
        return progress

    def _project_batch(self) -> Progress:
        try:
            progress = self._loop.project(self._connected(), BATCH_EVENTS_MAX)
        except psycopg.OperationalError:
            read_ahead = self._ahead is not None
            self._end_reading_ahead()
            if not read_ahead and (self._connection is None or not self._connection.closed):
                raise
            # The server was restarted, or has ended a session that took too long. Whatever was not committed was rolled
            # back, so it is simply done again, with less at a time for a server that is slow.
            progress = self._loop.project(self._connected(), RETRIED_EVENTS_MAX)
        if progress.lag <= BATCH_EVENTS_MAX:
            self._end_reading_ahead()
        elif self._ahead is None:
            with contextlib.suppress(psycopg.OperationalError):  # without it is slower, and that is all
                self._ahead = ReadAhead(self._connect())
        return progress

    def _page(self, connection: Connection, after: int, up_to: int) -> list[StoredEvent]:
        return (self._ahead.page if self._ahead else read.page)(connection, after, up_to)

    def _end_reading_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _reporting(self, work: Callable[[], None]) -> None:
        """Do the work; leave word of its failure where `orders status` finds it, and try again on the next occasion."""
        try:
            work()
        except Exception as error:
            # Whatever it is: a projector that ended for it would take the sweep and the bell along.
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            if message != self._error:
                ours = not isinstance(error, psycopg.Error)
                log.error("the projection stopped: %s", message, exc_info=ours)  # noqa: TRY400 - a lost server is no bug
            self._error = message
            with contextlib.suppress(psycopg.Error, UnicodeError):
                self._loop.report(self._connected(), message)
        else:
            if self._error is not None:
                log.info("the projection goes on")
            self._error = None

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Connection:
        if self._stopping.is_set():
            raise psycopg.OperationalError("the worker stops, and connects no more")
        return connect(self._database_url, PatientConnection, LIMITS)

    def _answer_bell(self) -> None:
        """From here on, news rings again. To be called before a last look at the log."""
        self._with_redis(lambda client: client.delete(bell.KEY))

    def _with_redis(self, tell: Callable[[redis.Redis], object]) -> None:
        if self._redis is not None:
            with contextlib.suppress(redis.RedisError):
                tell(self._redis)


class _Sweeper(Middleware):
    """Looks at the log every second, Redis or no Redis, for as long as the worker process lives."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._projector.stop()
        self._stopping.set()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._projector.close()

    def _run(self) -> None:
        self._projector.retry_parked()
        while not self._stopping.is_set():
            self._projector.sweep()
            self._stopping.wait(SWEEP_SECONDS)


def set_up(broker: RedisBroker, projector: Projector) -> None:
    """Make `broker`'s workers project: the actor that the bell wakes, and the sweeper."""
    broker.add_middleware(_Sweeper(projector))

    # Not retried: the next ring, or the next sweep, does the same. Not interrupted either: catching up takes as long as
    # it takes, and ends after its batch when the worker is to stop.
    @dramatiq.actor(broker=broker, actor_name=bell.ACTOR, queue_name=bell.QUEUE, max_retries=0, time_limit=float("inf"))
    def project() -> None:
        projector.stay_awake()
