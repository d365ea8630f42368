import socket
import threading
import time
from collections.abc import Iterator

import pytest
import redis
from dramatiq import Message

from projector import bell
from projector.bell import Bell
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
    """Also from several processes, and when the key that says so runs out because nobody comes."""
    bells = [Bell(redis_url) for _ in range(3)]
    for each in bells:
        each.start()
    for number in range(60):
        if number % 10 == 0:
            client.delete(bell.KEY)
        for each in bells:
            each.ring()
        time.sleep(0.005)
        assert waiting(client) <= 1
    wait_until(lambda: waiting(client) == 1, SOON, "a message")
    for each in bells:
        each.stop()
    assert waiting(client) == 1


def test_nobody_rings_while_a_projector_is_awake(ringing: Bell, client: redis.Redis) -> None:
    client.set(bell.KEY, 1)
    ringing.ring()
    wait_until(lambda: not ringing._news.is_set(), SOON, "the ring")
    ringing.stop()  # waits for what is under way
    assert waiting(client) == 0


def test_a_bell_that_nobody_answers_rings_again_by_itself(ringing: Bell, client: redis.Redis) -> None:
    """Whoever was to clear the key may have died."""
    ringing.ring()
    wait_until(lambda: waiting(client) == 1, SOON, "a message")
    assert 0 < client.ttl(bell.KEY) <= bell.KEY_SECONDS


def test_without_redis_ringing_costs_nothing_and_is_counted() -> None:
    ringing = Bell(NOBODY_LISTENS)
    ringing.start()
    started = time.monotonic()
    for _ in range(10_000):
        ringing.ring()
    assert time.monotonic() - started < 1
    wait_until(lambda: ringing.failures > 0, SOON, "the failure to be counted")
    ringing.stop()
    assert not ringing._thread.is_alive()


def test_a_redis_that_is_frozen_holds_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        ringing = Bell(f"redis://127.0.0.1:{frozen.getsockname()[1]}/0")
        ringing.start()
        started = time.monotonic()
        ringing.ring()
        assert time.monotonic() - started < 1
        wait_until(lambda: ringing.failures > 0, SOON, "the failure to be counted")
        ringing.stop()
        assert not ringing._thread.is_alive()


def test_the_workers_that_listen_are_known_by_name(redis_url: str, ringing: Bell, client: redis.Redis) -> None:
    """The bell's own broker signs the same list, but only rings."""
    ringing.ring()
    wait_until(lambda: waiting(client) == 1, SOON, "a message")
    assert bell.workers(redis_url) == []

    listening = bell.broker(redis_url)
    listening.declare_queue(bell.QUEUE)
    listening.do_fetch(bell.QUEUE, 1)
    assert bell.workers(redis_url) == [WORKER]

    long_ago = (time.time() - bell.HEARTBEAT_SECONDS_MAX - 1) * 1_000
    client.zadd("dramatiq:__heartbeats__", {listening.broker_id: long_ago})
    assert bell.workers(redis_url) == []
    listening.client.close()


def test_two_workers_of_one_name_are_two(redis_url: str) -> None:
    """A process that is started again may get its number again; messages belong to the process, not to the name."""
    assert bell.broker(redis_url).broker_id != bell.broker(redis_url).broker_id


def test_who_asks_a_redis_that_is_gone_is_told_soon() -> None:
    def ask() -> None:
        with pytest.raises(redis.RedisError):
            bell.workers(NOBODY_LISTENS)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(SOON)
    assert not asking.is_alive()
