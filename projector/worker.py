"""The projector as a Dramatiq worker: woken by the bell, and looking by itself every second in case the bell is lost."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable

import dramatiq
import psycopg
import redis
from dramatiq import Broker, Middleware, Worker
from dramatiq.brokers.redis import RedisBroker
from psycopg import Connection

from projector import bell
from projector.loop import Loop, connect

BATCH_EVENTS_MAX = 5_000
SWEEP_SECONDS = 1.0
# Awake, the projector looks again after this long: long enough for a busy log to fill a batch worth its commit.
LOOK_AGAIN_SECONDS = 0.005
# After the last event it stays awake this long, so that a steady trickle needs no messages.
LINGER_SECONDS = 0.25
# Then it lets its worker go, to be woken again: a worker that is asked to stop waits no longer for it.
AWAKE_SECONDS_MAX = 2.0
KEY_RENEWED_SECONDS = 1.0

log = logging.getLogger(__name__)


class Projector:
    """Keeps the read tables current, from whichever thread asks; one at a time."""

    def __init__(self, database_url: str, client: redis.Redis | None = None, loop: Loop | None = None) -> None:
        self._database_url = database_url
        self._redis = client
        self._loop = loop or Loop()
        self._connection: Connection | None = None
        self._busy = threading.Lock()
        self._stopping = threading.Event()
        self._error: str | None = None

    def stop(self) -> None:
        """End what is going on after its batch."""
        self._stopping.set()

    def catch_up(self) -> int:
        """Project all there is. Returns the number of events. Raises psycopg.Error, ProjectionFailed, Fenced."""
        events = 0
        while not self._stopping.is_set():
            progress = self._loop.project(self._connected(), BATCH_EVENTS_MAX)
            events += progress.events
            if not progress.lag:
                break
        return events

    def stay_awake(self) -> None:
        """Project until nothing has come for a while: what the bell wakes."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            self._reporting(self._follow)
        finally:
            self._busy.release()

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
            events = self.catch_up()
            now = time.monotonic()
            if events:
                idle_since = now
            if now - idle_since > LINGER_SECONDS or now - started > AWAKE_SECONDS_MAX:
                break
            if now - renewed > KEY_RENEWED_SECONDS:
                self._with_redis(lambda client: client.expire(bell.KEY, bell.KEY_SECONDS))
                renewed = now
            time.sleep(LOOK_AGAIN_SECONDS)
        # Cleared before the last look: what comes after that look rings again.
        self._with_redis(lambda client: client.delete(bell.KEY))
        self.catch_up()

    def _sweep(self) -> None:
        if not self.catch_up():
            self._loop.beat(self._connected())

    def _reporting(self, work: Callable[[], None]) -> None:
        """Do the work; leave word of its failure where `orders status` finds it, and try again on the next occasion."""
        try:
            work()
            self._error = None
        except Exception as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            if message != self._error:
                log.error("the projection stopped: %s", message)
            self._error = message
            with contextlib.suppress(psycopg.Error):
                self._loop.report(self._connected(), message)

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._database_url)
        return self._connection

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
        self._thread.join(timeout=SWEEP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._projector.sweep()
            self._stopping.wait(SWEEP_SECONDS)


def set_up(broker: RedisBroker, projector: Projector) -> None:
    """Make `broker`'s workers project: the actor that the bell wakes, and the sweeper."""
    broker.add_middleware(_Sweeper(projector))

    # Not retried: the next ring, or the next sweep, does the same.
    @dramatiq.actor(broker=broker, actor_name=bell.ACTOR, queue_name=bell.QUEUE, max_retries=0, time_limit=60_000)
    def project() -> None:
        projector.stay_awake()
