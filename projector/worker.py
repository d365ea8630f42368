"""The worker: a Dramatiq process that keeps all projections current.

The bell's message wakes it. Awake, it looks at the log's head every few milliseconds and wakes the follower of each
projection when the head has moved; asleep, the followers look by themselves every second, should the bell be lost.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable

import dramatiq
import psycopg
import redis
from dramatiq import Broker, Middleware, Worker
from dramatiq.brokers.redis import RedisBroker
from psycopg import Connection

from projector import bell
from projector.connecting import connect
from projector.follower import LIMITS, Follower
from projector.patience import PatientConnection
from projector.projection import Projection

# Awake, the watch looks at the log's head this often: one cheap statement for all projections.
LOOK_SECONDS = 0.005
# It falls asleep when the head has not moved for this long. Less, and a steady trickle needs a message for each event.
LINGER_SECONDS = 0.25
KEY_RENEWED_SECONDS = 1.0
HEAD_LOST_SECONDS = 1.0

_HEAD = b"SELECT position FROM log.head"

log = logging.getLogger(__name__)


class Projectors:
    """All followers of a process, and the watch that wakes them."""

    def __init__(
        self,
        database_url: str,
        projections: Iterable[Projection],
        client: redis.Redis | None = None,
        *,
        rebuild: bool = True,
    ) -> None:
        self.followers = [Follower(database_url, projection, rebuild=rebuild) for projection in projections]
        self._database_url = database_url
        self._redis = client
        self._rung = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to follow the log."""
        for follower in self.followers:
            follower.start()
        self._thread.start()

    def ring(self) -> None:
        """There is news: wake up. Returns at once."""
        for follower in self.followers:
            follower.wake()
        self._rung.set()

    def stop(self) -> None:
        """End after the batches that are under way."""
        self._stopping.set()
        self._rung.set()
        for follower in self.followers:
            follower.stop()

    def close(self) -> None:
        """Give all connections back, after `stop`."""
        for follower in self.followers:
            follower.close()
        self._thread.join(HEAD_LOST_SECONDS)
        if self._redis is not None:
            self._redis.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._rung.wait()
            self._rung.clear()
            if self._stopping.is_set():
                return
            try:
                with connect(self._database_url, PatientConnection, LIMITS) as connection:
                    while not self._stopping.is_set():
                        self._watch(connection)
                        self._rung.wait()
                        self._rung.clear()
            except (psycopg.Error, OSError) as error:
                # The followers look by themselves meanwhile, every second.
                log.warning("the log's head cannot be read: %s", str(error).splitlines()[0] if str(error) else error)
                self._stopping.wait(HEAD_LOST_SECONDS)
                self._rung.set()

    def _watch(self, connection: Connection) -> None:
        """Wake the followers each time the head moves, until it has not moved for a while."""
        last = _head(connection)
        moved = renewed = time.monotonic()
        while not self._stopping.is_set():
            self._stopping.wait(LOOK_SECONDS)
            now = time.monotonic()
            if (head := _head(connection)) != last:
                last, moved = head, now
                for follower in self.followers:
                    follower.wake()
            if now - moved > LINGER_SECONDS:
                break
            if now - renewed > KEY_RENEWED_SECONDS:
                self._with_redis(lambda client: client.expire(bell.KEY, bell.KEY_SECONDS))
                renewed = now
        # From here on news rings again. What was appended before that is found by a last look.
        self._with_redis(lambda client: client.delete(bell.KEY))
        if _head(connection) != last:
            self.ring()

    def _with_redis(self, tell: Callable[[redis.Redis], object]) -> None:
        if self._redis is not None:
            with contextlib.suppress(redis.RedisError):
                tell(self._redis)


def _head(connection: Connection) -> int:
    row = connection.execute(_HEAD).fetchone()
    assert row is not None, "the migration made the row of log.head"
    position: int = row[0]
    return position


class _Lifetime(Middleware):
    """Starts and stops the projectors with Dramatiq's worker."""

    def __init__(self, projectors: Projectors) -> None:
        self._projectors = projectors

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._projectors.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._projectors.stop()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._projectors.close()


def set_up(broker: RedisBroker, projectors: Projectors) -> None:
    """Make `broker`'s workers project: the actor that the bell wakes, and the followers."""
    broker.add_middleware(_Lifetime(projectors))

    # Not retried: the next ring does the same, and so do the followers by themselves.
    @dramatiq.actor(broker=broker, actor_name=bell.ACTOR, queue_name=bell.QUEUE, max_retries=0)
    def project() -> None:
        projectors.ring()
