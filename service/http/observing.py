"""Watches each request from outside: gives it an id, measures it, writes its log line, and answers faults."""

import time
from collections.abc import Awaitable, Callable
from random import getrandbits

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.headers import request_id
from contract.observation import Observation, begin, route_of
from service.http.metrics import HttpMetrics
from service.http.request_log import RequestLog


class Observing:
    """An application whose requests are measured and logged. A request without a usable X-Request-Id gets an id.

    `failed` answers a request that raised an exception.
    """

    def __init__(
        self,
        app: ASGIApp,
        failed: Callable[[Request, Exception], Awaitable[Response]],
        metrics: HttpMetrics,
        log: RequestLog,
    ) -> None:
        self._app = app
        self._failed = failed
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A new id has 16 hexadecimal digits.
        observation = Observation(request_id(scope["headers"]) or b"%016x" % getrandbits(64))
        begin(scope, observation)

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                observation.status = message["status"]
            await send(message)

        began = time.perf_counter()
        self._metrics.in_flight += 1
        try:
            await self._app(scope, receive, send_observed)
        except Exception as error:
            if observation.status:
                raise  # the answer is half sent: the server must close the connection
            response = await self._failed(Request(scope), error)
            await response(scope, receive, send_observed)
        finally:
            self._metrics.in_flight -= 1
            seconds = time.perf_counter() - began
            route = route_of(scope)
            self._metrics.observe(scope["method"], route, observation.status, seconds)
            self._log.write(scope, route, seconds, observation)
