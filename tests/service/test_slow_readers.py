"""A client that reads a large answer slowly gets all of it; the connection of one that stalls is closed."""

import contextlib
import socket
import time
from collections.abc import Iterator

import psycopg
import pytest

from service.http import reading
from service.http.connections import CHECK_EVERY_SECONDS, UNREAD_BYTES_MAX
from tests.served import Shop, served

PAGE_BYTES = 21_000_000
WINDOW_SECONDS = 2


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    """With one event so large that it is a page of 21 MB."""
    with psycopg.connect(module_database_url) as connection:
        connection.execute(
            "INSERT INTO log.events (position, stream, version, type, schema_version, occurred_at, recorded_at, data, "
            "metadata) SELECT 1, 'order-large', 1, 'Large', 1, now(), now(), "
            "json_build_object('text', repeat('x', %s)), '{}'",
            (PAGE_BYTES,),
        )
        connection.execute("UPDATE log.head SET position = 1")
    with served(module_database_url) as shop:
        yield shop


@pytest.fixture
def client(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection that has asked for the page, with a small buffer of its own."""
    monkeypatch.setattr(reading, "ANSWER_SECONDS_MAX", WINDOW_SECONDS)
    url = shop.http.base_url
    with contextlib.closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(10)
        client.connect((url.host, url.port))
        client.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        yield client


def take(client: socket.socket, bytes_a_second: float, seconds: float) -> int:
    """Read at this rate for so long, or to the end of the answer. Returns how many bytes are left of it."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(1)
    left = int(head.lower().partition(b"content-length: ")[2].split()[0])
    began, taken = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds and taken < left:
        if (due := elapsed * bytes_a_second - taken) >= 1:
            taken += receive(client, int(min(due, left - taken)))
        time.sleep(0.01)  # until some bytes are due
    return left - taken


def receive(client: socket.socket, most: int) -> int:
    received = len(client.recv(min(most, 64 * 1024)))
    if not received:
        raise ConnectionResetError
    return received


def take_the_rest(client: socket.socket, left: int) -> None:
    while left:
        left -= receive(client, left)


def test_a_slow_and_steady_reader_gets_all_of_a_large_page(client: socket.socket) -> None:
    began = time.monotonic()
    assert take(client, PAGE_BYTES / 7, 30) == 0
    assert time.monotonic() - began > 3 * WINDOW_SECONDS


def test_a_reader_that_needs_longer_for_the_kernels_buffers_does_not_stall(client: socket.socket) -> None:
    left = take(client, 8 * reading.ANSWER_BYTES_PER_SECOND_MIN, 4 * WINDOW_SECONDS)
    assert left > PAGE_BYTES - 1_000_000
    take_the_rest(client, left)


@pytest.mark.parametrize("bytes_a_second", [0, 1_000])
def test_the_connection_of_a_reader_that_reads_almost_nothing_is_closed(
    client: socket.socket, bytes_a_second: int
) -> None:
    with pytest.raises(ConnectionError):
        take_the_rest(client, take(client, bytes_a_second, WINDOW_SECONDS + 3))


def test_very_many_slow_readers_do_not_fill_memory(shop: Shop) -> None:
    url = shop.http.base_url
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(contextlib.closing(socket.socket())) for _ in range(30)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            client.settimeout(30)
            client.connect((url.host, url.port))
            client.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for client in clients:
            with contextlib.suppress(ConnectionError):
                client.recv(1)  # its page was read from the database
        time.sleep(CHECK_EVERY_SECONDS + 1)
        lefts = [left_of(client) for client in clients]
        assert shop.http.get("/healthz").status_code == 200
    # The kernel holds some megabytes of each page.
    assert 0 < lefts.count(0) <= UNREAD_BYTES_MAX // (PAGE_BYTES * 2 // 3)


def left_of(client: socket.socket) -> int:
    """How many bytes of the page do not come."""
    left = PAGE_BYTES - 1
    with contextlib.suppress(ConnectionError):
        while left > 0 and (some := client.recv(1024 * 1024)):
            left -= len(some)
    return max(0, left)
