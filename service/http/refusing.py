"""Rejections that cost little: an overloaded process rejects most requests, and must have time left for the others.

`python -m bench servers` shows what a rejected request costs, beside a rejection by an ASGI middleware.
"""

from collections.abc import Iterable

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from contract.headers import request_id
from contract.problems import Problem

_Headers = Iterable[tuple[bytes, bytes]]


def answer_bytes(response: Response, headers: _Headers) -> bytes:
    """The whole answer as HTTP/1.1, with these headers instead of the response's own."""
    return STATUS_LINE[response.status_code] + _after_status(response, headers)


def _after_status(response: Response, headers: _Headers) -> bytes:
    return b"".join([*(b"%b: %b\r\n" % header for header in headers), b"\r\n", bytes(response.body)])


class NoRoom:
    """A reason to reject a request, and the answer. `reason` is its name in the metrics."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.problem = Problem("overloaded", detail)
        self._common: _Headers = ()
        self._answer = b""

    def answer(self, common: _Headers, request_id: bytes | None = None, prefix: str = "") -> bytes:
        """The whole answer. `common` are the headers of every answer; uvicorn replaces that list once a second."""
        if common is not self._common:
            self._common = common
            response = self.problem.response(prefix=prefix)
            self._answer = _after_status(response, [*common, *response.raw_headers])
        sent = b"x-request-id: %b\r\n" % request_id if request_id else b""
        return STATUS_LINE[503] + sent + self._answer


CONNECTIONS = NoRoom("connections", "Too many connections are open; this one is closed.")
REQUESTS = NoRoom("requests", "Too many requests are under way; this one was not tried.")
COMMANDS = NoRoom("commands", "Too many commands are waiting; this one was not tried.")
REASONS = [it.reason for it in (CONNECTIONS, REQUESTS, COMMANDS)]


class QuickParser:
    """Finds method and URL when the data from a connection is one whole request, which it mostly is.

    It uses the same parser library as every connection, so both agree on where a request ends. It builds no scope and
    keeps no headers, and all connections share one.
    """

    def __init__(self) -> None:
        self.request_id: bytes | None = None
        self._renew()

    def parse(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Method and URL, if `data` is exactly one request after which the connection stays open; None otherwise.

        Sets `request_id` to the request's X-Request-Id.
        """
        self._begun = self._complete = 0
        self._url = b""
        self.request_id = None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._renew()
            return None
        if self._begun == self._complete == 1 and self._stays:
            return self._parser.get_method(), self._url
        self._renew()
        return None

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == len(b"x-request-id") and self.request_id is None:
            self.request_id = request_id([(name.lower(), value)])

    def on_headers_complete(self) -> None:
        self._stays = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        self._complete += 1

    def _renew(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._stays = False
