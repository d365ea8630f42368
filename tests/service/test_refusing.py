"""A process without room rejects requests cheaply and in order, and never rejects health checks."""

import time
from contextlib import closing

import pytest

from service.http import connections
from tests.builders import wait_until
from tests.served import problem, served
from tests.system.slow import SlowClient

HEALTH_CHECKS = ["/healthz", "/readyz", "/metrics"]

GET = b"GET /users?limit=1 HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"POST /users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
# The head of a request whose body, as long as GET, is still to come.
UPGRADING = POST.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost").replace(b" 2", b" %d" % len(GET))[:-2]


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUESTS_MAX", -1)


@pytest.mark.usefixtures("no_room")
def test_reads_and_commands_are_rejected_and_the_connection_can_be_used_again(module_database_url: str) -> None:
    with served(module_database_url) as shop:
        for _ in range(3):
            assert problem(shop.http.get("/users")) == (503, "overloaded")
            user = {"name": "Ada", "email": "ada@example.org"}
            assert problem(shop.http.post("/users", json=user)) == (503, "overloaded")
            assert shop.http.head("/users").status_code == 503
            assert problem(shop.http.get("/users", headers={"Connection": "close"})) == (503, "overloaded")


@pytest.mark.usefixtures("no_room")
def test_a_rejection_has_the_request_id_of_its_own_request(module_database_url: str) -> None:
    with served(module_database_url) as shop:
        for number in range(3):
            for method in ("GET", "HEAD", "POST"):
                sent = {"X-Request-Id": f"{method} {number}"}
                answer = shop.http.request(method, "/users", headers=sent)
                assert answer.status_code == 503
                assert answer.headers.get_list("x-request-id") == [sent["X-Request-Id"]]
            assert "x-request-id" not in shop.http.get("/users", headers={b"X-Request-Id": b"\xe9"}).headers
            assert "x-request-id" not in shop.http.get("/users").headers


@pytest.mark.usefixtures("no_room")
def test_a_rejection_has_the_date_of_its_own_second(module_database_url: str) -> None:
    with served(module_database_url) as shop:
        first = shop.http.get("/users").headers["Date"]
        wait_until(lambda: shop.http.get("/users").headers["Date"] != first, 3, "another date in a rejection")


def test_a_head_is_measured_from_its_first_byte(module_database_url: str) -> None:
    with served(module_database_url) as shop, closing(SlowClient(str(shop.http.base_url))) as client:
        for part in (b"GET /users HTTP/1.1\r\nX: " + b"y" * 20_000, b"y" * 20_000):
            client.send(part)
            time.sleep(0.1)  # so that the parts are read one by one

        def is_answered() -> bool:
            client.look()
            return b" 431 " in client.received

        wait_until(is_answered, 5, "a 431")


@pytest.mark.parametrize("rest", [b"X: \x01\r\n\r\n", b"\r\n", b"X: " + b"y" * 40_000])
def test_a_broken_request_gets_its_request_id_back(module_database_url: str, rest: bytes) -> None:
    with served(module_database_url) as shop, closing(SlowClient(str(shop.http.base_url))) as client:
        client.send(b"GET /users HTTP/1.1\r\nX-Request-Id: a-1\r\n" + rest)

        def is_answered() -> bool:
            client.look()
            return b"\r\n\r\n" in client.received

        wait_until(is_answered, 10, "an answer")
        assert b"\r\nx-request-id: a-1\r\n" in client.received


@pytest.mark.usefixtures("no_room")
@pytest.mark.parametrize(
    ("pieces", "answers"),
    [
        ([POST, GET], 2),
        ([POST + GET], 2),
        (
            [
                POST.replace(b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
                GET,
            ],
            2,
        ),
        ([POST[:30], POST[30:], GET], 2),
        ([POST[:-1], POST[-1:], GET], 2),
        ([POST.replace(b" 2", b" %d" % len(GET))[:-2], GET, POST], 2),  # a body that looks like a request
        ([UPGRADING + GET, POST], 2),
        ([UPGRADING, GET, POST], 2),
    ],
)
def test_a_request_is_rejected_and_counted_once_however_its_bytes_arrive(
    module_database_url: str, pieces: list[bytes], answers: int
) -> None:
    with served(module_database_url) as shop, closing(SlowClient(str(shop.http.base_url))) as client:
        for piece in pieces:
            client.send(piece)
            time.sleep(0.05)  # so that the server reads the pieces one by one

        def all_answered() -> bool:
            client.look()
            return client.received.count(b"HTTP/1.1 ") >= answers

        wait_until(all_answered, 5, "everything is answered")
        assert client.received.count(b"HTTP/1.1 503 ") == client.received.count(b"HTTP/1.1 ") == answers
        refused = f'orders_http_rejected_total{{reason="requests"}} {answers}.0'
        assert refused in shop.http.get("/metrics").text


@pytest.mark.usefixtures("no_room")
def test_a_rejection_does_not_overtake_an_earlier_answer(module_database_url: str) -> None:
    with served(module_database_url) as shop, closing(SlowClient(str(shop.http.base_url))) as client:
        client.send(GET.replace(b"/users?limit=1", b"/metrics"))
        time.sleep(0.001)  # so that they are two reads, the second before the first is answered
        client.send(GET)

        def both_answered() -> bool:
            client.look()
            return b"HTTP/1.1 503 " in client.received

        wait_until(both_answered, 5, "both are answered")
        assert client.received.startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("no_room")
def test_health_checks_and_metrics_are_not_rejected(module_database_url: str) -> None:
    with served(module_database_url) as shop:
        answers = {path: shop.http.get(path) for path in HEALTH_CHECKS}
        assert answers["/healthz"].status_code == 200
        assert answers["/metrics"].status_code == 200
        assert "overloaded" not in answers["/readyz"].text
