"""The bell: "there is news", told after a commit. It carries no data.

It may be lost, doubled or late: each projection looks at the log every second anyway. So ringing never waits and never
fails a command. Two ways lead to the worker: a message on a Redis channel, which reaches every worker at once; and a
Dramatiq message in the queue, one at most, which waits for a worker that was not listening.
"""

import logging
import threading
import time
from typing import Any

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from projector.checkpoint import WORKER
from projector.redis_faults import fault_of

QUEUE = "projection"
ACTOR = "project"

# Set while a message waits in the queue. If the worker that should delete it dies, it expires.
WAITING_KEY = "orders:bell:waiting"
WAITING_SECONDS_MAX = 600
# A health check writes this key: a full Redis and a read-only replica answer reads and reject writes.
PROBE_KEY = "orders:bell:probe"
PROBE_SECONDS = 3

# A Redis that is slow or gone costs the ringing thread this much, and no command anything.
REDIS_SECONDS_MAX = 0.5
# The bell rings once after each pause, for all commits in it. After so many pauses with commits in a row the worker is
# busy and looks by itself. Then pauses are longer, because publishing takes time from the commands of this process.
PAUSE_SECONDS, LONG_PAUSE_SECONDS = 0.005, 0.05
PAUSES_UNTIL_LONG = 10
QUEUED_EVERY_SECONDS = 1.0
PAUSE_AFTER_ERROR_SECONDS = 0.5
# How often the ringing thread checks whether Redis takes writes and a worker listens.
LOOK_SECONDS = 2.0

NOBODY_LISTENS = "no worker listens to Redis, so workers look for new events only once a second"

# Dramatiq gives the messages of a killed worker back after this long.
HEARTBEAT_SECONDS_MAX = 5
_LISTENER_PREFIX = "orders-worker/"

log = logging.getLogger(__name__)


def client(redis_url: str, name: str | None = None) -> redis.Redis:
    """A client with short timeouts. CLIENT LIST shows its `name`."""
    # One retry, at once, for a connection that a restart has left dead. By default redis-py retries for many seconds.
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=REDIS_SECONDS_MAX,
        socket_connect_timeout=REDIS_SECONDS_MAX,
        retry=Retry(NoBackoff(), 1),
        client_name=name,
    )


def channel(client: redis.Redis) -> str:
    """The channel of the client's database: Redis itself has one space of channels for all its databases."""
    return f"orders:bell:{_database(client)}"


def _database(client: redis.Redis) -> str:
    return str(client.get_connection_kwargs().get("db") or 0)


def broker(redis_url: str) -> RedisBroker:
    """A worker's broker, that gets the messages of a killed worker back within seconds, not a quarter of an hour."""
    # Dramatiq's constructor has no types.
    return RedisBroker(  # type: ignore[no-untyped-call]
        url=redis_url, heartbeat_timeout=HEARTBEAT_SECONDS_MAX * 1_000, maintenance_chance=200_000
    )


def workers(redis_url: str) -> list[str]:
    """The worker processes that listen to the bell now, as host:pid. Raises redis.RedisError."""
    with client(redis_url) as asked:
        connections: Any = asked.client_list(_type="pubsub")
        names = [str(it["name"]) for it in connections if it["db"] == _database(asked)]
    return sorted(name.removeprefix(_LISTENER_PREFIX) for name in names if name.startswith(_LISTENER_PREFIX))


def queue(client: redis.Redis, broker: RedisBroker) -> None:
    """Queue a message, unless one waits. Raises redis.RedisError."""
    if client.set(WAITING_KEY, 1, nx=True, ex=WAITING_SECONDS_MAX):
        try:
            broker.enqueue(Message(queue_name=QUEUE, actor_name=ACTOR, args=(), kwargs={}, options={}))
        except redis.RedisError:
            client.delete(WAITING_KEY)
            raise


class Listener:
    def __init__(self, redis_url: str) -> None:
        self._redis = client(redis_url, f"{_LISTENER_PREFIX}{WORKER}")
        # redis-py's method has no types.
        self._channel: Any = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]

    def heard(self, seconds_max: float) -> bool:
        """Whether the bell rang, within so many seconds at most. Raises redis.RedisError."""
        if not self._channel.subscribed:
            self._channel.subscribe(channel(self._redis))
        return self._channel.get_message(timeout=seconds_max) is not None

    def close(self) -> None:
        self._channel.close()
        self._redis.close()


class Bell:
    def __init__(self, redis_url: str) -> None:
        self._redis = client(redis_url)
        self._broker = RedisBroker(client=self._redis)  # type: ignore[no-untyped-call]
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self._queued_at = -QUEUED_EVERY_SECONDS
        self.rung = self.failures = 0
        # Why news may take until the projector's own look, a second; None when the bell is heard.
        self.trouble: str | None = None
        # How many workers hear it; None while Redis does not answer.
        self.listeners: int | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Workers find the last commits by their own look, once a second."""
        self._stopping.set()
        self._news.set()
        self._thread.join(timeout=2 * REDIS_SECONDS_MAX)
        self._redis.close()

    def ring(self) -> None:
        """Tell the projector, soon. Returns at once."""
        self._news.set()

    def _run(self) -> None:
        looked = -LOOK_SECONDS
        pauses = 0
        while True:
            woken = self._news.wait(LOOK_SECONDS)
            if self._stopping.is_set():
                return
            try:
                if woken:
                    self._news.clear()
                    self._ring()
                    self._stopping.wait(PAUSE_SECONDS if pauses < PAUSES_UNTIL_LONG else LONG_PAUSE_SECONDS)
                    pauses = pauses + 1 if self._news.is_set() else 0
                if time.monotonic() - looked >= LOOK_SECONDS:
                    looked = time.monotonic()
                    self._look()
            except (redis.RedisError, OSError) as error:
                if woken:
                    self._news.set()  # ring again: a look that succeeds must not hide that a ring failed
                self.failures += 1
                self.listeners = None
                fault = fault_of(error)
                self.trouble = f"Redis {fault.what}, so workers look for new events only once a second; {fault.remedy}"
                log.warning("the bell cannot ring, the projector will look by itself: %s", fault)
                self._stopping.wait(PAUSE_AFTER_ERROR_SECONDS)

    def _ring(self) -> None:
        self._redis.publish(channel(self._redis), b"")
        if time.monotonic() - self._queued_at >= QUEUED_EVERY_SECONDS:
            queue(self._redis, self._broker)
            self._queued_at = time.monotonic()
        self.rung += 1

    def _look(self) -> None:
        """See whether Redis takes writes, and whether a worker listens."""
        self._redis.set(PROBE_KEY, 1, ex=PROBE_SECONDS)
        ((_, self.listeners),) = self._redis.pubsub_numsub(channel(self._redis))
        self.trouble = None
        if not self.listeners:
            self.trouble = NOBODY_LISTENS
