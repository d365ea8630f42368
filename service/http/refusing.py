"""Refusals that cost next to nothing: when there is no room, most are refused, and there is no time for any of them."""

from collections.abc import Iterable

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from contract.problems import Problem
from contract.requests import request_id

_Headers = Iterable[tuple[bytes, bytes]]


def _lines(headers: _Headers) -> list[bytes]:
    return [b"%b: %b\r\n" % header for header in headers]


class NoRoom:
    """A reason to refuse, and the answer. `reason` is its name among the metrics."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.problem = Problem("overloaded", detail)
        self._common: _Headers = ()
        self._answer = b""

    def answer(self, common: _Headers, request_id: bytes | None = None, prefix: str = "") -> bytes:
        """The whole answer, with the headers that every answer has; they are other ones once a second."""
        if common is not self._common:
            self._common = common
            response = self.problem.response(prefix=prefix)
            self._answer = b"".join([*_lines([*common, *response.raw_headers]), b"\r\n", bytes(response.body)])
        sent = b"x-request-id: %b\r\n" % request_id if request_id else b""
        return STATUS_LINE[503] + sent + self._answer


CONNECTIONS = NoRoom("connections", "Too many connections are open; this one is closed.")
REQUESTS = NoRoom("requests", "Too many requests are under way; this one was not tried.")
COMMANDS = NoRoom("commands", "Too many commands are waiting; this one was not tried.")
REASONS = [it.reason for it in (CONNECTIONS, REQUESTS, COMMANDS)]


class Glance:
    """Tells what is asked for when a read from a connection is one whole request, which most are.

    The parser that tells is the one that reads every other request as well, so both agree on where a request ends; but
    nothing is made of this one.
    """

    def __init__(self) -> None:
        self.request_id: bytes | None = None
        self._renew()

    def at(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Method and URL, when `data` is one request and nothing else, after which the connection stays open.

        `request_id` is its X-Request-Id then.
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
