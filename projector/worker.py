"""The worker: a Dramatiq process that keeps all projections current.

A thread listens to the bell and wakes the follower of each projection. A Dramatiq message does the same for news that
came while no thread listened. If both are lost, the followers look by themselves every second.
"""

import contextlib
import logging
import threading
from collections.abc import Iterable

import dramatiq
import redis
from dramatiq import Broker, Middleware, Worker
from dramatiq.brokers.redis import RedisBroker

from projector import bell
from projector.follower import Follower
from projector.jobs.runner import Runner
from projector.metrics import ProjectorMetrics
from projector.observing import Traced
from projector.projection import Projection
from projector.redis_faults import fault_of

# How long the listening thread waits before it looks whether it has to stop.
LISTEN_SECONDS = 0.5
AFTER_ERROR_SECONDS = 1.0

log = logging.getLogger(__name__)


class Projectors:
    """All followers of a process, and the thread that wakes them when the bell rings."""

    def __init__(
        self,
        database_url: str,
        projections: Iterable[Projection],
        redis_url: str | None = None,
        *,
        rebuild: bool = True,
        metrics: ProjectorMetrics | None = None,
        traced: Traced | None = None,
    ) -> None:
        self.followers = [
            Follower(database_url, it, rebuild=rebuild, metrics=metrics, traced=traced) for it in projections
        ]
        self._redis_url = redis_url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listen", daemon=True)

    def start(self) -> None:
        for follower in self.followers:
            follower.start()
        self._thread.start()

    def wake(self) -> None:
        for follower in self.followers:
            follower.wake()

    def take_message(self) -> None:
        """Wake the followers for a message that waited in the queue; from here on the next one may be queued."""
        if self._redis_url is not None:
            with contextlib.suppress(redis.RedisError), bell.client(self._redis_url) as client:
                client.delete(bell.WAITING_KEY)
        self.wake()

    def stop(self) -> None:
        self._stopping.set()
        for follower in self.followers:
            follower.stop()

    def close(self) -> None:
        for follower in self.followers:
            follower.close()
        self._thread.join(2 * LISTEN_SECONDS)

    def _listen(self) -> None:
        if self._redis_url is None:
            return
        failed = False
        while not self._stopping.is_set():
            listener = bell.Listener(self._redis_url)
            try:
                while not self._stopping.is_set():
                    if listener.heard(LISTEN_SECONDS):
                        self.wake()
                    failed = False
            except (redis.RedisError, OSError) as error:
                if not failed:
                    log.warning("the bell cannot be heard, the projections look by themselves: %s", fault_of(error))
                failed = True
                self._stopping.wait(AFTER_ERROR_SECONDS)
            finally:
                listener.close()


class _Lifetime(Middleware):
    """Starts and stops the threads of the parts with Dramatiq's worker, in this order.

    If a part fails, the ones behind it are not reached: so the projectors come first.
    """

    def __init__(self, *parts: Projectors | Runner) -> None:
        self._parts = parts

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        for part in self._parts:
            part.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        for part in self._parts:
            part.stop()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        for part in self._parts:
            part.close()


def set_up(broker: RedisBroker, projectors: Projectors, jobs: Runner) -> None:
    """Make `broker`'s workers project (the actor that takes a waiting message, and the followers) and run jobs."""
    broker.add_middleware(_Lifetime(projectors, jobs))

    # Not retried: the next message does the same, and so do the followers by themselves.
    @dramatiq.actor(broker=broker, actor_name=bell.ACTOR, queue_name=bell.QUEUE, max_retries=0)
    def project() -> None:
        projectors.take_message()
