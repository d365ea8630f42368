"""The service closes connections that send slowly, send nothing or do not read, and others do not notice."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest

from contract.requests import BODY_BYTES_MAX
from service.http.connections import HEAD_BYTES_MAX, HEADERS_MAX, REQUEST_SECONDS_MAX, URL_BYTES_MAX
from service.http.reading import ANSWER_SECONDS_MAX
from tests import loopback
from tests.builders import wait_until
from tests.system.freezing import frozen
from tests.system.slow import SlowClient
from tests.system.stack import Stack
from tests.system.weighing import descriptors, resident_bytes

SENDERS = 300
CLOSED_WITHIN_SECONDS = 15
SERVED_WITHIN_SECONDS = 1.0  # an idle machine needs a hundredth; tests run side by side
GROWTH_BYTES_MAX = 32 * 1024 * 1024

HALF_A_HEAD = b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: appl"
BODY_TO_COME = b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # Some tests read until the connection closes.
    with Stack(tmp_path_factory.mktemp("edge"), workers=0, environment={"KEEP_ALIVE": "5"}) as stack:
        yield stack


def test_a_request_that_waits_for_a_busy_process_is_not_too_slow(stack: Stack) -> None:
    """The client has sent it in time; the process was not able to read it."""
    body = b'{"name": "' + b"a" * 1_000_000 + b'"}'
    head = BODY_TO_COME.replace(b"Content-Length: 100", b"Content-Length: %d" % len(body)).removesuffix(b"{")
    address = ("127.0.0.1", urlsplit(stack.urls[0]).port)
    with socket.create_connection(address, timeout=60) as client, ThreadPoolExecutor(1) as thread:
        client.sendall(head)
        time.sleep(0.5)  # so that the head is read, and the time of the request begins
        with frozen(stack.apis[0].pid):
            sent = thread.submit(client.sendall, body)
            time.sleep(REQUEST_SECONDS_MAX + 1)
        sent.result()
        assert head_of(client.recv(65536)).startswith(b"HTTP/1.1 422 ")


def head_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n")[0]


def test_slow_senders_are_closed_and_others_are_served_meanwhile(stack: Stack) -> None:
    (url,), pid = stack.urls, stack.apis[0].pid
    with ExitStack() as closes, loopback.Client(base_url=url) as shop:
        assert shop.get("/users").status_code == 200
        memory, open_before = resident_bytes(pid), descriptors(pid)
        began = time.monotonic()
        clients = [closes.enter_context(closing(SlowClient(url))) for _ in range(SENDERS)]
        # A third each: silent, half a head, and a body a byte a second.
        for number, client in enumerate(clients):
            client.send((b"", HALF_A_HEAD, BODY_TO_COME)[number % 3])
        slowest, served = 0.0, 0
        while not all(client.is_closed for client in clients):
            assert time.monotonic() - began < CLOSED_WITHIN_SECONDS, sum(not it.is_closed for it in clients)
            sent = time.monotonic()
            made = shop.post("/users", json={"name": "Ada", "email": f"ada{served}@example.org"})
            slowest, served = max(slowest, time.monotonic() - sent), served + 1
            assert made.status_code == 201
            for client in clients[1:]:
                client.look()
                if not client.is_closed and client not in clients[::3]:
                    client.send(b" ")
            clients[0].look()
            assert resident_bytes(pid) - memory < GROWTH_BYTES_MAX
            time.sleep(0.5)
        assert time.monotonic() - began >= REQUEST_SECONDS_MAX - 1
        assert slowest < SERVED_WITHIN_SECONDS
        for number, client in enumerate(clients):
            if number % 3:
                assert head_of(client.received) == b"HTTP/1.1 408 Request Timeout", client.received
                assert b'"code":"request-timeout"' in client.received
            else:
                assert client.received == b""
        assert descriptors(pid) <= open_before + 2
    assert stack.rows("SELECT count(*) FROM log.events") == [(served,)]


@pytest.mark.parametrize(
    ("request_head", "status", "code"),
    [
        (b"GET /" + b"x" * URL_BYTES_MAX + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri-too-long"),
        (b"GET /users HTTP/1.1\r\n" + b"a: b\r\n" * (HEADERS_MAX + 1) + b"\r\n", 431, "headers-too-large"),
        (b"GET /users HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", 431, "headers-too-large"),
        (b"GARBAGE\r\n\r\n", 400, "malformed-request"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed-request"),
    ],
)
def test_a_head_has_limits(stack: Stack, request_head: bytes, status: int, code: str) -> None:
    with closing(SlowClient(stack.urls[0])) as client:
        client.send(request_head)
        answer = client.answer(REQUEST_SECONDS_MAX)
        assert head_of(answer).split()[1] == b"%d" % status
        assert f'"code":"{code}"'.encode() in answer


def test_an_endless_head_is_rejected_before_its_end(stack: Stack) -> None:
    pid = stack.apis[0].pid
    memory = resident_bytes(pid)
    with closing(SlowClient(stack.urls[0])) as client:
        client.send(b"GET /users HTTP/1.1\r\n")
        deadline = time.monotonic() + 5
        while not client.is_closed:
            assert time.monotonic() < deadline
            client.send(b"X-More: " + b"x" * 1000 + b"\r\n")
            client.look()
        assert resident_bytes(pid) - memory < GROWTH_BYTES_MAX


@pytest.mark.parametrize("offer", [b"", b"Connection: upgrade\r\nUpgrade: h2c\r\n"], ids=["plain", "offers an upgrade"])
def test_a_head_that_ends_in_a_small_read_has_the_same_limit(stack: Stack, offer: bytes) -> None:
    with closing(SlowClient(stack.urls[0])) as client:
        client.send(b"GET /users HTTP/1.1\r\nHost: x\r\n" + offer + b"X: " + b"x" * HEAD_BYTES_MAX)
        time.sleep(0.3)  # so that the service reads the end of the head by itself
        client.send(b"\r\n\r\n")
        assert head_of(client.answer(REQUEST_SECONDS_MAX)).split()[1] == b"431"


PIPELINED = [
    b"GARBAGE\r\n\r\n",
    b"GET /users HTTP/1.1\r\nX: ",
    b"POST /users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
]


@pytest.mark.parametrize("behind", PIPELINED)
def test_an_answer_stays_the_answer_to_its_own_request(stack: Stack, behind: bytes) -> None:
    """A wrong request behind a command must not make it look refused: it is carried out."""
    body = b'{"name": "Ada", "email": "pipelined%d@example.org"}' % len(behind)
    head = b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with closing(SlowClient(stack.urls[0])) as client:
        client.send(head % len(body) + body + behind)
        deadline = time.monotonic() + 5
        while not client.is_closed:
            assert time.monotonic() < deadline
            client.send(b"x" * HEAD_BYTES_MAX)
            client.look()
        assert head_of(client.received) == b"HTTP/1.1 201 Created"


def test_bytes_of_other_requests_do_not_count_as_a_head(stack: Stack) -> None:
    """A body may fill many reads, and the last one may have the beginning of the next head, or many heads."""
    large = b" " * 2 * HEAD_BYTES_MAX + b'{"name": "Ada", "email": "large@example.org"}'
    head = b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    small = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    number = HEAD_BYTES_MAX // len(small) * 3
    with closing(SlowClient(stack.urls[0])) as client:
        client.send(head % len(large) + large + small[:1])
        wait_until(lambda: client.look() or client.received.startswith(b"HTTP/1.1 201"), 10, "the answer")
        client.send(small[1:] + small * number)
        wait_until(lambda: client.look() or client.received.count(b"HTTP/1.1 200") == number + 1, 10, "all answers")


def test_an_endless_body_is_rejected_and_not_kept(stack: Stack) -> None:
    """A hundred megabytes: the answer comes early, what follows is dropped, and the sender sees the answer."""
    pid = stack.apis[0].pid
    memory = resident_bytes(pid)
    chunk = b" " * BODY_BYTES_MAX
    peak = 0

    def body() -> Iterator[bytes]:
        nonlocal peak
        for _ in range(100):
            peak = max(peak, resident_bytes(pid) - memory)
            yield chunk

    headers = {"Content-Type": "application/json"}
    answer = loopback.post(f"{stack.urls[0]}/users", content=body(), headers=headers, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert peak < GROWTH_BYTES_MAX


def test_an_endless_request_is_closed_however_fast_it_comes(stack: Stack) -> None:
    """There is always more of it to read, which must not look as if the process were too busy to read it."""
    head = b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", urlsplit(stack.urls[0]).port), timeout=10) as client:
        client.sendall(head + b"1\r\n{\r\n1;x=")
        with pytest.raises(ConnectionError):
            send_for(CLOSED_WITHIN_SECONDS, client, b"x" * BODY_BYTES_MAX)


def send_for(seconds: float, client: socket.socket, data: bytes) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        client.sendall(data)


def test_a_client_that_does_not_read_holds_no_memory(stack: Stack, is_long: bool) -> None:
    """Pipelined requests whose answers are not read: the service does no more than fits into the kernel's buffers."""
    pid = stack.apis[0].pid
    memory, open_before = resident_bytes(pid), descriptors(pid)
    with ExitStack() as closes:
        clients = [closes.enter_context(closing(SlowClient(stack.urls[0]))) for _ in range(10)]
        for _ in range(50):
            for client in clients:
                client.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            assert resident_bytes(pid) - memory < GROWTH_BYTES_MAX
            time.sleep(0.02)
        assert loopback.get(f"{stack.urls[0]}/healthz").status_code == 200
        if is_long:
            wait_until(lambda: descriptors(pid) <= open_before + 2, ANSWER_SECONDS_MAX + 10, "they are hung up on")
