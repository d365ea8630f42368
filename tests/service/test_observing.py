"""What a request leaves behind: its id in the answer and the event, its line in the log, its latency in the metrics."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.observation import observation_of
from service.http.metrics import HttpMetrics, new_registry
from service.http.observing import Observing
from service.http.request_log import RequestLog
from service.settings import Settings
from tests.served import NO_REDIS, Shop, served_with

REQUESTS = re.compile(r'orders_http_requests_total\{method="(\S+)",route="(\S+)",status="(\S+)"\} (\S+)')
MEASURED = re.compile(r'orders_http_request_duration_seconds_count\{method="(\S+)",route="(\S+)"\} (\S+)')


@pytest.fixture
def shop(database_url: str, caplog: pytest.LogCaptureFixture) -> Iterator[Shop]:
    caplog.set_level(logging.INFO, logger="request")
    urls = {"database_url": database_url, "redis_url": NO_REDIS}
    settings = Settings(**urls, allow_unsafe_database=True, no_auth=True, log_format="json", log_level="info")
    with served_with(settings) as shop:
        yield shop


def counted(shop: Shop) -> dict[tuple[str, str, str], float]:
    found = REQUESTS.findall(shop.get("/metrics").text)
    return {(method, route, status): float(number) for method, route, status, number in found}


def lines_of(capsys: pytest.CaptureFixture[str], at_least: int) -> list[dict[str, Any]]:
    """The lines of the log; a line may follow its answer a moment later."""
    text = ""
    until = time.monotonic() + 10
    while text.count('"logger":"request"') < at_least:
        assert time.monotonic() < until, text
        time.sleep(0.01)
        text += capsys.readouterr().err
    return [json.loads(line) for line in text.splitlines() if '"logger":"request"' in line]


def test_requests_are_counted_by_method_route_and_status(shop: Shop) -> None:
    order = shop.order()
    for _ in range(2):
        shop.post(f"/orders/{order['id']}/cancel")
    shop.get("/orders/none")
    shop.get("/nowhere/at/all")
    shop.http.request("PROPFIND", "/orders")
    assert counted(shop) == {
        ("POST", "/products", "201"): 1,
        ("POST", "/users", "201"): 1,
        ("POST", "/orders", "201"): 1,
        ("POST", "/orders/{id}/cancel", "200"): 2,
        ("GET", "/orders/{id}", "404"): 1,
        ("GET", "unmatched", "404"): 1,
        ("other", "/orders", "405"): 1,
    }


def test_requests_are_measured_by_method_and_route_unless_the_route_lacks_the_method(shop: Shop) -> None:
    order = shop.order()
    for path in ("/orders/none", f"/orders/{order['id']}", "/nowhere"):
        shop.get(path, headers={"Prefer": "wait=0"})
    shop.http.request("PATCH", "/orders")
    found = {(method, route): float(number) for method, route, number in MEASURED.findall(shop.get("/metrics").text)}
    assert found == {
        ("POST", "/products"): 1,
        ("POST", "/users"): 1,
        ("POST", "/orders"): 1,
        ("GET", "/orders/{id}"): 2,
        ("GET", "unmatched"): 1,
    }


def test_the_id_of_a_request_is_in_its_answer_its_event_and_its_line(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    user, product = shop.user(), shop.product()
    body = {"user_id": user["id"], "items": [{"sku": product["sku"], "quantity": 1}]}
    made = shop.post("/orders", json=body)
    sent = shop.post("/orders", json=body, headers={"X-Request-Id": "web-17"})
    lines = {line["request_id"]: line for line in lines_of(capsys, 4)}
    for answer in (made, sent):
        known_as = answer.headers["x-request-id"]
        stream = f"order-{answer.json()['id']}"
        ((kept,),) = shop.rows("SELECT metadata->>'request_id' FROM log.events WHERE stream = %s", stream)
        assert kept == known_as
        line = lines[known_as]
        assert line.pop("ms") > 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
        assert line == {
            "level": "info",
            "logger": "request",
            "request_id": known_as,
            "method": "POST",
            "route": "/orders",
            "status": 201,
            "path": "/orders",
            "command": "PlaceOrder",
            "outcome": "accepted",
            "stream": stream,
            "version": 1,
            "position": int(answer.headers["sync-token"]),
        }
    assert sent.headers["x-request-id"] == "web-17"


def test_a_log_line_has_the_outcome_of_a_command(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    order = f"/orders/{shop.order()['id']}"
    body = {"name": "Ada", "email": "ada@example.org"}
    for _ in range(2):
        shop.post("/users", json=body, headers={"Idempotency-Key": "ada"})
        shop.post(f"{order}/cancel")
    shop.post("/users", json=body)
    shop.post("/users", json={})
    told = [(it.get("outcome"), it.get("code")) for it in lines_of(capsys, 9)[-6:]]
    assert told == [
        ("accepted", None),
        ("accepted", None),
        ("replayed", None),
        ("unchanged", None),
        ("refused", "email-taken"),
        (None, "validation-error"),
    ]


def test_health_checks_and_scrapes_have_no_line(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/users"):
        shop.get(path)
    assert [line["route"] for line in lines_of(capsys, 1)] == ["/users"]


def answered(app: ASGIApp) -> list[Message]:
    """The messages of the answer to one request of an observed application."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def known(request: Request, error: Exception) -> Response:
        return PlainTextResponse(type(error).__name__, 400)

    async def unknown(request: Request, error: Exception) -> Response:
        return PlainTextResponse(observation_of(request.scope).request_id.decode(), 500)

    handlers = {LookupError: known, Exception: unknown}
    observing = Observing(app, handlers, HttpMetrics(new_registry()), RequestLog("text"))
    headers = [(b"x-request-id", b"web-17")]
    asyncio.run(observing({"type": "http", "method": "GET", "raw_path": b"/", "headers": headers}, receive, send))
    return sent


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [(LookupError(), 400, b"LookupError"), (KeyError(), 400, b"KeyError"), (ValueError(), 500, b"web-17")],
)
def test_an_exception_is_answered_by_its_nearest_handler(error: Exception, status: int, body: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    begin, end = answered(app)
    assert begin["status"] == status
    assert end["body"] == body


def test_an_exception_after_the_beginning_of_the_answer_reaches_the_server() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError

    with pytest.raises(KeyError):
        answered(app)
