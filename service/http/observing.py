"""Watches each request from outside: gives it an id, measures it, and writes its log line."""

import time
from random import getrandbits

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.observation import Observation, begin
from contract.requests import is_request_id
from service.http.metrics import HttpMetrics
from service.http.request_log import RequestLog

_HEADER = b"x-request-id"


class Observing:
    """An application whose requests are measured and logged. A request without a usable X-Request-Id gets one.

    The id is written into the headers of the request, so everything that reads the header finds it.
    """

    def __init__(self, app: ASGIApp, metrics: HttpMetrics, log: RequestLog) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        observation = Observation(_identify(scope))
        begin(scope, observation)
        status = 0

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        self._metrics.in_flight += 1
        try:
            await self._app(scope, receive, send_observed)
        finally:
            self._metrics.in_flight -= 1
            seconds = time.perf_counter() - began
            # FastAPI leaves the route in the scope.
            route = getattr(scope.get("route"), "path", None)
            self._metrics.observe(scope["method"], route, status, seconds)
            self._log.write(scope, route, status, seconds, observation)


def _identify(scope: Scope) -> str:
    """The id of the request: the caller's, or a new one of 16 hexadecimal digits."""
    headers = scope["headers"]
    for name, value in headers:
        if name == _HEADER:
            if is_request_id(value):
                return str(value, "ascii")
            scope["headers"] = headers = [it for it in headers if it[0] != _HEADER]
            break
    made = f"{getrandbits(64):016x}"
    headers.insert(0, (_HEADER, made.encode()))  # where those who ask for it find it first
    return made
