"""One HTTP connection: uvicorn's httptools protocol with limits of time and size, and with early rejections.

uvicorn has no such limits. `Connections` checks every connection once a second, so the limits cost a request only a
time stamp. docs/decisions/0015 compares other servers.
"""

import asyncio
import fcntl
import termios
from collections import deque
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from contract.headers import request_id
from contract.problems import Problem
from service.http import framing, refusing
from service.http.connections import HEAD_BYTES_MAX, HEADERS_MAX, REQUEST_SECONDS_MAX, URL_BYTES_MAX, Connections
from service.http.reading import Reading
from service.http.refusing import NoRoom, answer_bytes

# After SIGTERM the process waits only this long for a request to arrive or an answer to be read.
CLOSING_CLIENT_SECONDS_MAX = 2
# After SIGTERM a request that has no answer by then is rejected. The writer has answered all commands earlier.
CLOSING_ANSWER_SECONDS_MAX = 7

# A request that has more bytes never ends: it is closed when its time is over, also if this process was busy.
READ_BYTES_MAX = 8 * 1024 * 1024

_DISCARDED: Any = deque(maxlen=0)  # keeps nothing of what is appended


class _Rejected:
    """Stands in for uvicorn's cycle of a request that was answered early: nothing more is done about it."""

    response_complete = True
    response_started = True
    more_body = False
    keep_alive = True
    message_event = asyncio.Event()  # no one waits for it


class Connection(HttpToolsProtocol):
    """One connection. The lifespan's state must hold the process's `Connections` under "connections"."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._shared: Connections = self.app_state["connections"]
        self._client_since = self.loop.time()  # since when we wait for the client, and not for our own answer
        self._head_bytes = 0  # of the head that is arriving, without those of a read that another request was in, too
        self._fresh_bytes = 0  # of this read, until a head begins in it; 0 if the read begins within a request
        self._read_bytes = 0  # of the request that is arriving
        # The end of a request, or of its head or trailers, has not arrived.
        self._is_arriving = self._is_in_head = False
        self._reading = Reading()
        if not self._shared.opened(self):
            self._shared.refused[refusing.CONNECTIONS.reason] += 1
            self._reject_and_close(refusing.CONNECTIONS.problem)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
        self._read_bytes += len(data)
        self._fresh_bytes = 0 if self._is_arriving else len(data)
        self._unset_keepalive_if_required()
        self._feed(data)
        if self._is_in_head and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._reject_arriving(_headers_too_large())

    def _feed(self, data: bytes) -> None:
        """Parse the data. A head that offers an upgrade is parsed again without the offer, so its body stays a body.

        httptools stops at such a head, and takes what follows for the next request.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as stop:
                head = framing.without_upgrade(self.parser, self.url, self.headers)
                if head is None:
                    self.send_400_response("")
                    return
                data = head + data[stop.args[0] :]
                self.parser = framing.new_parser(self)
            except httptools.HttpParserError as error:
                self.send_400_response(f": {error}")
                return
            else:
                return

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_arriving = self._is_in_head = True
        self._head_bytes, self._fresh_bytes = self._fresh_bytes, 0
        self._read_bytes = 0
        self._client_since = self.loop.time()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # _feed parses this head again
        self._is_in_head = False
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110 10.1.1: its client would take the 100 for the answer
        method = self.parser.get_method()
        no_room = self._shared.no_room(len(self.tasks), method, self.url)
        if no_room and self._can_reject_now(method):
            self._reject_now(no_room, request_id(self.headers))
            # The parser skips the body.
            self.cycle = _Rejected()  # type: ignore[assignment] # it stands in for uvicorn's
            return
        problem = self._problem(no_room)
        application = self.app
        if problem is not None:
            # uvicorn answers this request like any other, so the connection stays in step and can be used again.
            self.app = problem.response(request_id(self.headers), self._shared.prefix)
        if self.expect_100_continue:
            self.app = framing.closing_unless_read(self.app)
        try:
            super().on_headers_complete()
        finally:
            self.app = application

    def on_chunk_header(self) -> None:
        """A chunk begins. Trailers follow the last one; they are limited like a head, and never become headers."""
        self.headers = _DISCARDED
        self._is_in_head = True
        self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._is_in_head = False
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._is_arriving = self._is_in_head = False
        if not self.parser.should_keep_alive():
            # Nothing more is read, also when only a trailer says "Connection: close": so let the client connect anew.
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_arriving and self.cycle.response_complete:
            # Thousands of connections may be idle, and a head has up to 32 KiB.
            self.scope = self.headers = self.cycle.scope = None  # type: ignore[assignment] # until the next head

    # Rejections before the application is called.

    def _reject_now(self, no_room: NoRoom, sent_id: bytes | None) -> None:
        """Reject without a task and without the application: an overloaded process must spend no time on it."""
        self._shared.refused[no_room.reason] += 1
        headers = self.server_state.default_headers
        self.transport.write(refusing.rejection(no_room, self._shared.prefix, headers, sent_id))

    def _can_reject_now(self, method: bytes) -> bool:
        """Whether an answer can be written right away, and the connection stays usable after it."""
        return (
            not (self._has_answer_pending or self.expect_100_continue)
            and self.parser.should_keep_alive()
            and method != b"HEAD"
            and len(self.headers) <= HEADERS_MAX
        )

    def _problem(self, no_room: NoRoom | None) -> Problem | None:
        """Return the problem of a request whose body was not read yet; None if it has none."""
        if len(self.url) > URL_BYTES_MAX:
            return Problem("uri-too-long", f"The URI has more than {URL_BYTES_MAX} bytes.")
        if b"#" in self.url:  # what follows it would be dropped, as a fragment
            return Problem("malformed-request", "The URI has a #: send it as %23.")
        if (
            len(self.headers) > HEADERS_MAX
            or sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX
        ):
            return _headers_too_large()
        if fault := framing.fault(self.parser, self.url, self.headers):
            # Others may find another end of this request, so nothing behind it is read.
            return Problem("malformed-request", fault, headers={"Connection": "close"})
        if no_room:
            self._shared.refused[no_room.reason] += 1
            return no_room.problem
        return None

    def send_400_response(self, msg: str) -> None:
        self._reject_arriving(Problem("malformed-request", f"This is no HTTP request{msg}."))

    def _reject_arriving(self, problem: Problem) -> None:
        """Reject the request whose head is arriving, and close the connection."""
        if self._is_at_work:
            # The next answer on this connection must be the one to the request that is under way.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        else:
            self._reject_and_close(problem)

    # Limits of time.

    def shutdown(self) -> None:
        """Stop after the request that is under way. uvicorn calls this when the process begins to stop."""
        self._shared.closing()
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection. uvicorn calls this when no request has come for KEEP_ALIVE seconds.

        When a request has come and this process was too busy to read it, closing would reset the connection.
        """
        if not self._has_unread_bytes:
            super().timeout_keep_alive_handler()

    @property
    def unread_bytes(self) -> int:
        """How many bytes of answers wait in this process, because the client has not read those before them."""
        return self.transport.get_write_buffer_size()

    def abort(self) -> None:
        self.transport.abort()

    def check(self, now: float) -> None:
        """Close the connection if its client sends too slowly or has stopped reading."""
        closing = self._shared.closing_since
        if self._reading.stalls(self.transport, self.cycle, now) or self._reads_too_long(closing, now):
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif self._is_at_work or self.flow.read_paused or self._reading.since is not None:
            self._client_since = now
            if closing is not None and now - closing > CLOSING_ANSWER_SECONDS_MAX and self._is_at_work:
                self._reject_and_close(Problem("unavailable", "The service is shutting down."))
        elif now - self._client_since > self._client_seconds_max:
            if self._has_unread_bytes and self._read_bytes < READ_BYTES_MAX:
                return  # this process was too busy to read what the client has sent
            if self._is_in_head or (self._last and not self._last.response_complete):
                detail = f"It took more than {REQUEST_SECONDS_MAX} seconds to arrive."
                self._reject_and_close(Problem("request-timeout", detail))
            else:
                self.transport.close()

    def _reads_too_long(self, closing_since: float | None, now: float) -> bool:
        """Whether the process is stopping, and the client has not read its answer in time."""
        if closing_since is None or self._reading.since is None:
            return False
        return now - max(closing_since, self._reading.since) > CLOSING_CLIENT_SECONDS_MAX

    @property
    def _client_seconds_max(self) -> float:
        """How long to wait for the client: for the rest of a request, or for the next one."""
        if self._shared.closing_since is not None:
            return CLOSING_CLIENT_SECONDS_MAX
        is_idle = not self._is_arriving and self._last is not None
        return max(REQUEST_SECONDS_MAX, self.timeout_keep_alive) if is_idle else REQUEST_SECONDS_MAX

    @property
    def _last(self) -> RequestResponseCycle | None:
        """The last request whose headers are complete, and its answer."""
        return self.cycle

    @property
    def _has_answer_pending(self) -> bool:
        """Whether an earlier request's answer has not been written yet."""
        return (self._last is not None and not self._last.response_complete) or self.flow.write_paused

    @property
    def _has_unread_bytes(self) -> bool:
        """Whether the kernel has bytes of the client that this process has not read yet."""
        if self.transport.is_closing():
            return False
        count = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.FIONREAD, bytes(4))
        return any(count)

    @property
    def _is_at_work(self) -> bool:
        """Whether a whole request has arrived and has no complete answer yet: the last one, or one before it."""
        return bool(self.pipeline) or (
            self._last is not None and not self._last.response_complete and not self._last.more_body
        )

    def _reject_and_close(self, problem: Problem) -> None:
        """Answer at once, if no other answer has begun, and close."""
        # With more requests waiting, the answer under way is not that of the last one, and may have begun.
        if not self.pipeline and (
            self._last is None or self._last.response_complete or not self._last.response_started
        ):
            asked: Any = self.cycle.scope if self._is_at_work else self.scope  # None before the first request
            response = problem.response(request_id(asked["headers"] if asked else ()), self._shared.prefix)
            self.transport.write(answer_bytes(response, self.server_state.default_headers, [(b"connection", b"close")]))
        self.transport.close()


def _headers_too_large() -> Problem:
    return Problem("headers-too-large", f"The headers are more than {HEADERS_MAX}, or than {HEAD_BYTES_MAX} bytes.")
