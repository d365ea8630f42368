"""Rejections of requests and connections that a process has no room for.

An overloaded process rejects most requests, and must have time left for the others: `python -m bench servers` shows
what a rejection costs, beside one by an ASGI middleware.
"""

from collections.abc import Iterable
from functools import lru_cache
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


def rejection(no_room: NoRoom, prefix: str, headers: list[tuple[bytes, bytes]], sent_id: bytes | None) -> bytes:
    """The whole answer to a request that has no room. `headers` are those of every answer; one of them is the date."""
    if sent_id:
        return answer_bytes(no_room.problem.response(sent_id, prefix), headers)
    return _kept(no_room, prefix, tuple(headers))


@lru_cache(maxsize=len(REASONS))
def _kept(no_room: NoRoom, prefix: str, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return answer_bytes(no_room.problem.response(prefix=prefix), headers)


def answer_bytes(response: Response, *more: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The whole answer as HTTP/1.1, with `more` headers."""
    headers = [b"%b: %b\r\n" % header for some in (response.raw_headers, *more) for header in some]
    return b"".join([STATUS_LINE[response.status_code], *headers, b"\r\n", bytes(response.body)])
