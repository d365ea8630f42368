"""Rejections that cost little: an overloaded process rejects most requests, and must have time left for the others.

`python -m bench servers` shows what a rejected request costs, beside a rejection by an ASGI middleware.
"""

from collections.abc import Iterable

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

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
