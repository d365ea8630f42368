import socket
import threading
import time
from collections.abc import Iterator

import pytest
import redis
from dramatiq import Message

from projector import bell
from projector.bell import Bell, Listener
from projector.checkpoint import WORKER
from tests.builders import wait_until

NOBODY_LISTENS = "redis://127.0.0.1:1/0"
QUEUE = f"dramatiq:{bell.QUEUE}"
SOON = 5


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def ringing(redis_url: str) -> Iterator[Bell]:
    ringing = Bell(redis_url)
    ringing.start()
    yield ringing
    ringing.stop()


def waiting(client: redis.Redis) -> int:
    return int(client.llen(QUEUE))


def test_a_ring_is_a_message_without_data(ringing: Bell, client: redis.Redis) -> None:
    ringing.ring()
    wait_until(lambda: waiting(client) == 1, SOON, "a message")
    (data,) = client.hvals(f"{QUEUE}.msgs")
    message = Message.decode(data)
    assert (message.actor_name, message.args, message.kwargs) == (bell.ACTOR, (), {})


def test_at_most_one_message_waits_however_often_it_rings(redis_url: str, client: redis.Redis) -> None:
    """Also from several processes."""
    bells = [Bell(redis_url) for _ in range(3)]
    for each in bells:
        each.start()
    until = time.monotonic() + 1.5 * bell.QUEUED_EVERY_SECONDS
    while time.monotonic() < until:
        for each in bells:
            each.ring()
        time.sleep(0.005)
        assert waiting(client) <= 1
    for each in bells:
        each.stop()
    assert waiting(client) == 1


def test_a_message_that_no_worker_takes_is_followed_by_another(ringing: Bell, client: redis.Redis) -> None:
    """The worker that should take it may have died."""
    ringing.ring()
    wait_until(lambda: waiting(client) == 1, SOON, "a message")
    assert 0 < client.ttl(bell.WAITING_KEY) <= bell.WAITING_SECONDS_MAX


def test_every_listener_hears_a_ring(ringing: Bell, redis_url: str) -> None:
    listeners = [Listener(redis_url) for _ in range(2)]
    assert [it.heard(0.2) for it in listeners] == [False, False]
    ringing.ring()
    assert [it.heard(SOON) for it in listeners] == [True, True]
    for listener in listeners:
        listener.close()


def test_a_listener_of_another_database_hears_nothing(ringing: Bell, redis_url: str) -> None:
    """Two deployments on one Redis do not take each other's news."""
    address, _, database = redis_url.rpartition("/")
    other = Listener(f"{address}/{(int(database) + 1) % 16}")
    assert not other.heard(0.2)
    ringing.ring()
    assert not other.heard(0.3)
    other.close()


def test_without_redis_ringing_costs_nothing_and_is_counted() -> None:
    ringing = Bell(NOBODY_LISTENS)
    ringing.start()
    started = time.monotonic()
    for _ in range(10_000):
        ringing.ring()
    assert time.monotonic() - started < 1
    wait_until(lambda: ringing.failures > 0, SOON, "the failure to be counted")
    ringing.stop()


def test_a_frozen_redis_delays_no_ring() -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        ringing = Bell(f"redis://127.0.0.1:{frozen.getsockname()[1]}/0")
        ringing.start()
        started = time.monotonic()
        ringing.ring()
        assert time.monotonic() - started < 1
        wait_until(lambda: ringing.failures > 0, SOON, "the failure to be counted")
        ringing.stop()


def test_the_workers_that_listen_are_known_by_name(redis_url: str, ringing: Bell) -> None:
    ringing.ring()
    assert bell.workers(redis_url) == []
    listener = Listener(redis_url)
    listener.heard(0.2)
    assert bell.workers(redis_url) == [WORKER]
    listener.close()
    wait_until(lambda: bell.workers(redis_url) == [], SOON, "no listener")


def test_asking_a_redis_that_is_gone_fails_soon() -> None:
    def ask() -> None:
        with pytest.raises(redis.RedisError):
            bell.workers(NOBODY_LISTENS)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(SOON)
    assert not asking.is_alive()


def test_a_ring_that_fails_is_told_until_one_succeeds(ringing: Bell, client: redis.Redis) -> None:
    """Redis takes other writes meanwhile: only the queue has a key of another type."""
    client.set(QUEUE, "not a list")
    ringing.ring()
    wait_until(lambda: "WRONGTYPE" in (ringing.trouble or ""), SOON, "the reason")
    until = time.monotonic() + 2 * bell.LOOK_SECONDS
    while time.monotonic() < until:
        assert "WRONGTYPE" in (ringing.trouble or "")
        time.sleep(0.05)  # until the bell has looked again
    client.delete(QUEUE)
    wait_until(lambda: waiting(client) == 1, SOON, "a message, without another ring")
    wait_until(lambda: ringing.trouble == bell.NOBODY_LISTENS, SOON, "the end of that trouble")
