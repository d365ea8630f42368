"""Rejections of requests and connections that a process has no room for.

An overloaded process rejects most requests, and must have time left for the others: `python -m bench servers` shows
what a rejection costs, beside one by an ASGI middleware.
"""

from collections.abc import Iterable
from typing import NamedTuple

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from contract.problems import Problem


class NoRoom(NamedTuple):
    """A reason to reject a request. `reason` is its name in the metrics."""

    reason: str
    problem: Problem


CONNECTIONS = NoRoom("connections", Problem("overloaded", "Too many connections are open; this one is closed."))
REQUESTS = NoRoom("requests", Problem("overloaded", "Too many requests are under way; this one was not tried."))
COMMANDS = NoRoom("commands", Problem("overloaded", "Too many commands are waiting; this one was not tried."))
REASONS = [it.reason for it in (CONNECTIONS, REQUESTS, COMMANDS)]


def answer_bytes(response: Response, *more: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The whole answer as HTTP/1.1, with `more` headers."""
    headers = [b"%b: %b\r\n" % header for some in (response.raw_headers, *more) for header in some]
    return b"".join([STATUS_LINE[response.status_code], *headers, b"\r\n", bytes(response.body)])
