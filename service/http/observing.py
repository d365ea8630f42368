"""Watches each request from outside: gives it an id, measures it, writes its log line, and answers exceptions."""

import time
from collections.abc import Callable, Mapping
from random import getrandbits
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.headers import request_id
from contract.observation import Observation, begin, route_of
from service.http.metrics import HttpMetrics
from service.http.request_log import RequestLog


class Observing:
    """An application whose requests are measured and logged. A request without a usable X-Request-Id gets an id.

    `handlers` answer a request that raised an exception, by its class or the nearest base; one is for Exception.
    Starlette's own middleware does this too, but would be a second layer that watches for the beginning of the answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        handlers: Mapping[Any, Callable[[Request, Any], Any]],
        metrics: HttpMetrics,
        log: RequestLog,
    ) -> None:
        self._app = app
        self._handlers = handlers
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A new id has 16 hexadecimal digits.
        observation = Observation(request_id(scope["headers"]) or b"%016x" % getrandbits(64), trace=scope.get("trace"))
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
            handler = next(self._handlers[it] for it in type(error).__mro__ if it in self._handlers)
            response: Response = await handler(Request(scope), error)
            await response(scope, receive, send_observed)
        finally:
            self._metrics.in_flight -= 1
            seconds = time.perf_counter() - began
            route = route_of(scope)
            self._metrics.observe(scope["method"], route, observation.status, seconds)
            self._log.write(scope, route, seconds, observation)
