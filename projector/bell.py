"""The bell: "there is news", rung after a commit as a Dramatiq message without data.

It may be lost, doubled or late: the projector looks at the log every second anyway. So ringing never waits, never fails
a command, and at most one message waits at a time.
"""

import logging
import threading

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

QUEUE = "projection"
ACTOR = "project"

# Set while a message waits or a projector is awake; then there is no need to ring. Should the one who is to clear it
# die, it clears itself.
KEY = "orders:bell"
KEY_SECONDS = 3

# A Redis that is slow or gone costs the ringing thread this much, and no command anything.
REDIS_SECONDS_MAX = 0.5
PAUSE_SECONDS = 0.005
PAUSE_AFTER_ERROR_SECONDS = 0.5

log = logging.getLogger(__name__)


def broker(redis_url: str) -> RedisBroker:
    """A Dramatiq broker that gets the messages of a killed worker back within seconds, not a quarter of an hour."""
    return RedisBroker(  # type: ignore[no-untyped-call]
        url=redis_url, heartbeat_timeout=5_000, maintenance_chance=200_000
    )


class Bell:
    """Rings from a thread of its own."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=REDIS_SECONDS_MAX, socket_connect_timeout=REDIS_SECONDS_MAX
        )
        self._broker = RedisBroker(client=self._redis)  # type: ignore[no-untyped-call]
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self.failures = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._news.set()
        self._thread.join(timeout=2 * REDIS_SECONDS_MAX)
        self._redis.close()

    def ring(self) -> None:
        """Tell the projector, soon. Returns at once."""
        self._news.set()

    def _run(self) -> None:
        while True:
            self._news.wait()
            if self._stopping.is_set():
                return
            self._news.clear()
            try:
                self._ring()
                self._stopping.wait(PAUSE_SECONDS)
            except redis.RedisError as error:
                self.failures += 1
                if self.failures == 1 or self.failures % 100 == 0:
                    log.warning("the bell cannot ring, the projector will look by itself: %s", error)
                self._stopping.wait(PAUSE_AFTER_ERROR_SECONDS)

    def _ring(self) -> None:
        nobody_knows = self._redis.set(KEY, 1, nx=True, ex=KEY_SECONDS)
        # Without a worker the key runs out again and again, but one message in the queue is enough.
        if nobody_knows and not self._redis.llen(f"{self._broker.namespace}:{QUEUE}"):
            self._broker.enqueue(Message(queue_name=QUEUE, actor_name=ACTOR, args=(), kwargs={}, options={}))
