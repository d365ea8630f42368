"""The bell: "there is news", rung after a commit as a Dramatiq message without data.

It may be lost, doubled or late: the projector looks at the log every second anyway. So ringing never waits, never fails
a command, and at most one message waits at a time.
"""

import logging
import threading
import time
import uuid
from typing import Any

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from projector.checkpoint import WORKER

QUEUE = "projection"
ACTOR = "project"

# Set while a message waits or a projector is awake; then there is no need to ring. Should the one who is to clear it
# die, it clears itself.
KEY = "orders:bell"
KEY_SECONDS = 3
# A health check writes this key: a full Redis and a read-only replica answer reads and reject writes.
PROBE_KEY = "orders:bell:probe"

# A Redis that is slow or gone costs the ringing thread this much, and no command anything.
REDIS_SECONDS_MAX = 0.5
PAUSE_SECONDS = 0.005
# A projector that is awake looks every few milliseconds, and stays awake for longer than this after the last event (see
# LINGER_SECONDS): so a pause is over before it goes to sleep.
PAUSE_WHILE_KNOWN_SECONDS = 0.1
PAUSE_AFTER_ERROR_SECONDS = 0.5
# How often it is looked whether somebody hears the bell. Workers sign the heartbeats many times a second.
LOOK_SECONDS = 2.0

# Every broker signs Dramatiq's list of heartbeats, also one that only rings: this tells those that work.
_WORKER_PREFIX = "worker/"
_HEARTBEATS = "dramatiq:__heartbeats__"
HEARTBEAT_SECONDS_MAX = 5

log = logging.getLogger(__name__)


def client(redis_url: str) -> redis.Redis:
    """A client that gives up soon: news that comes late is worth nothing."""
    # Once more at once, for the connection that a restart of the server has left dead; by default redis-py goes on for
    # many seconds, on the projector's time.
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=REDIS_SECONDS_MAX,
        socket_connect_timeout=REDIS_SECONDS_MAX,
        retry=Retry(NoBackoff(), 1),
    )


def broker(redis_url: str) -> RedisBroker:
    """A worker's broker, that gets the messages of a killed worker back within seconds, not a quarter of an hour."""
    made = RedisBroker(  # type: ignore[no-untyped-call]
        url=redis_url, heartbeat_timeout=HEARTBEAT_SECONDS_MAX * 1_000, maintenance_chance=200_000
    )
    made.broker_id = f"{_WORKER_PREFIX}{WORKER}/{uuid.uuid4()}"
    return made


def workers(redis_url: str) -> list[str]:
    """The worker processes that listen to the bell now, as host:pid. Raises redis.RedisError."""
    with client(redis_url) as asked:
        since = (time.time() - HEARTBEAT_SECONDS_MAX) * 1_000
        heartbeats: list[bytes] = asked.zrangebyscore(_HEARTBEATS, since, "+inf")
    names = [name.decode() for name in heartbeats]
    return sorted(name.split("/")[1] for name in names if name.startswith(_WORKER_PREFIX))


class Bell:
    """Rings from a thread of its own."""

    def __init__(self, redis_url: str) -> None:
        self._redis = client(redis_url)
        self._broker = RedisBroker(client=self._redis)  # type: ignore[no-untyped-call]
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self._heartbeats: dict[bytes, float] | None = None
        self.failures = 0
        # Why news may take until the projector's own look, a second; None when the bell is heard.
        self.trouble: str | None = None

    def start(self) -> None:
        """Begin to listen to `ring`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what it could not tell by then, the projector finds by itself."""
        self._stopping.set()
        self._news.set()
        self._thread.join(timeout=2 * REDIS_SECONDS_MAX)
        self._redis.close()

    def ring(self) -> None:
        """Tell the projector, soon. Returns at once."""
        self._news.set()

    def _run(self) -> None:
        looked = -LOOK_SECONDS
        while True:
            woken = self._news.wait(LOOK_SECONDS)
            if self._stopping.is_set():
                return
            try:
                if woken:
                    self._news.clear()
                    self._stopping.wait(PAUSE_SECONDS if self._ring() else PAUSE_WHILE_KNOWN_SECONDS)
                if time.monotonic() - looked >= LOOK_SECONDS:
                    looked = time.monotonic()
                    self._look()
            except (redis.RedisError, OSError) as error:
                self.failures += 1
                what = "rejects writes" if isinstance(error, redis.ResponseError) else "cannot be reached"
                self.trouble = f"Redis {what} ({error}), so a projector hears of news only when it looks itself"
                if self.failures == 1 or self.failures % 100 == 0:
                    log.warning("the bell cannot ring, the projector will look by itself: %s", error)
                self._stopping.wait(PAUSE_AFTER_ERROR_SECONDS)

    def _look(self) -> None:
        """See whether Redis takes writes, and whether a worker has signed since the last look.

        Times are not compared: clocks of machines differ.
        """
        self._redis.set(PROBE_KEY, 1, ex=KEY_SECONDS)
        signed: Any = self._redis.zrange(_HEARTBEATS, 0, -1, withscores=True)
        heartbeats: dict[bytes, float] = {name: at for name, at in signed if name.startswith(_WORKER_PREFIX.encode())}
        before, self._heartbeats = self._heartbeats, heartbeats
        heard = before is None or any(before.get(name) != at for name, at in heartbeats.items())
        self.trouble = None if heard else "no worker hears the bell, so a projector only looks by itself, every second"

    def _ring(self) -> bool:
        """Ring unless somebody knows already; whether nobody did."""
        nobody_knows = bool(self._redis.set(KEY, 1, nx=True, ex=KEY_SECONDS))
        # Without a worker the key runs out again and again, but one message in the queue is enough.
        if nobody_knows and not self._redis.llen(f"{self._broker.namespace}:{QUEUE}"):
            self._broker.enqueue(Message(queue_name=QUEUE, actor_name=ACTOR, args=(), kwargs={}, options={}))
        return nobody_knows
