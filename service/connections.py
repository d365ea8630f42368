"""Connections that cannot be held: by sending slowly, by sending too much, by not reading, or by being too many.

uvicorn bounds none of that. One look at all connections a second does it here, so that a request pays for a time stamp
and no more.
"""

import asyncio
import resource
from collections.abc import Callable
from typing import Self

from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from contract.problems import Problem

CONNECTIONS_MAX = 4_000
# Files and sockets of everything else: databases, broker, logs.
OTHER_DESCRIPTORS = 100
# From its first byte to its last, whatever it is.
REQUEST_SECONDS_MAX = 10
# How long an answer may lie there unread.
ANSWER_SECONDS_MAX = 30
# From SIGTERM on nobody is waited for any longer than this, neither senders nor readers; and what is still at work
# after the second is refused. The writer has answered everybody by then.
CLOSING_PATIENCE_SECONDS = 2
CLOSING_SECONDS_MAX = 7
LOOK_EVERY_SECONDS = 1

URL_BYTES_MAX = 8 * 1024
HEADERS_MAX = 100
HEAD_BYTES_MAX = 32 * 1024
# Requests under way beside the commands that wait for the writer. Each is work for the one loop, so more of them would
# make everybody wait, those who are refused as well.
REQUESTS_MAX = 500

_READING = {b"GET", b"HEAD", b"OPTIONS"}
# Whoever watches is to see an overload, not to be refused by it: a process that is busy is not to be killed as dead.
_WATCHING = {b"/healthz", b"/readyz", b"/metrics"}


class Connections:
    """What all connections of a process share: their number, the look at them, and whether commands are taken."""

    def __init__(
        self,
        commands_waiting: Callable[[], int],
        refuses_command: Callable[[], bool],
        closing: Callable[[], None],
        most: int | None = None,
    ) -> None:
        self.commands_waiting = commands_waiting
        self.refuses_command = refuses_command
        self._closing = closing
        self.most = most or connections_max()
        self.closing_since: float | None = None
        self._open: set[Connection] = set()
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch(), name="connections")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watching is not None
        self._watching.cancel()

    def opened(self, connection: "Connection") -> bool:
        """Take it into account; False when there are too many."""
        self._open.add(connection)
        return len(self._open) <= self.most

    def lost(self, connection: "Connection") -> None:
        self._open.discard(connection)

    def closing(self) -> None:
        """The process is to end: whoever has got in is answered, and nobody else."""
        if self.closing_since is None:
            self.closing_since = asyncio.get_running_loop().time()
            self._closing()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            for connection in tuple(self._open):
                connection.look(loop.time())


class _Answered:
    """In the place of a request's cycle: it has been answered, and nothing more is done about it."""

    response_complete = True
    response_started = True
    more_body = False
    keep_alive = True

    def __init__(self, scope: object) -> None:
        self.scope = scope
        self.message_event = asyncio.Event()


class _NoRoom:
    """A refusal, with its bytes ready: the headers, but for those that every answer has, and the body."""

    def __init__(self, detail: str) -> None:
        self.problem = Problem("overloaded", detail)
        response = self.problem.response()
        headers = [b"%b: %b\r\n" % header for header in response.raw_headers]
        self.ready_made = b"".join([*headers, b"\r\n", bytes(response.body)])


_TOO_MANY_REQUESTS = _NoRoom("Too many requests are under way; this one was not tried.")
_TOO_MANY_COMMANDS = _NoRoom("Too many commands are waiting; this one was not tried.")


class Connection(HttpToolsProtocol):
    """One connection. The lifespan's state has its `Connections`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._shared: Connections = self.app_state["connections"]
        self._patient_since = self.loop.time()
        self._head_bytes = 0
        self._begun: object = None  # the scope of the request that is arriving, or arrived last
        self._unread: tuple[float, object] | None = None
        if not self._shared.opened(self):
            self._refuse(Problem("overloaded", "Too many connections are open; this one is closed."))

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._is_in_head:
            self._head_bytes = 0
        elif self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse(_headers_too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = self.scope
        self._patient_since = self.loop.time()

    def on_headers_complete(self) -> None:
        no_room = self._no_room()
        if no_room and self._can_refuse_at_once:
            self._refuse_at_once(no_room)
            return
        refusal = self._refusal(no_room)
        if refusal is None:
            super().on_headers_complete()
            return
        # Answered like any other request: the connection stays in step, and can be used again.
        application, self.app = self.app, refusal
        try:
            super().on_headers_complete()
        finally:
            self.app = application

    def _no_room(self) -> _NoRoom | None:
        """Why there is no room for this request; None when there is."""
        if len(self.tasks) - self._shared.commands_waiting() > REQUESTS_MAX and self.url not in _WATCHING:
            return _TOO_MANY_REQUESTS
        if self.parser.get_method() not in _READING and self._shared.refuses_command():
            return _TOO_MANY_COMMANDS
        return None

    @property
    def _can_refuse_at_once(self) -> bool:
        """Whether nothing else is under way on this connection, and nothing about this request needs a closer look."""
        return (
            (self._last is None or self._last.response_complete)
            and not (self.flow.write_paused or self.expect_100_continue)
            and self.parser.should_keep_alive()
            and self.parser.get_method() != b"HEAD"
            and len(self.headers) <= HEADERS_MAX
        )

    def _refuse_at_once(self, no_room: _NoRoom) -> None:
        """Refuse with neither task nor application: most must be refused when there is least time for it.

        What comes of the body is passed over.
        """
        self.cycle = _Answered(self.scope)  # type: ignore[assignment] # it stands in for uvicorn's
        dates = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        self.transport.write(b"".join([STATUS_LINE[503], *dates, no_room.ready_made]))

    def _refusal(self, no_room: _NoRoom | None) -> ASGIApp | None:
        """What answers this request in the application's place, before anything of its body is read."""
        if len(self.url) > URL_BYTES_MAX:
            return Problem("uri-too-long", f"The URI has more than {URL_BYTES_MAX} bytes.").response()
        if len(self.headers) > HEADERS_MAX or (
            self._head_bytes > HEAD_BYTES_MAX
            and sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX
        ):
            return _headers_too_large().response()
        return no_room.problem.response() if no_room else None

    def send_400_response(self, msg: str) -> None:
        if self._is_at_work:
            # The answer that comes next must be the one to the request that is under way.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        else:
            self._refuse(Problem("malformed-request", "This is no HTTP request."))

    def shutdown(self) -> None:
        """Called by uvicorn for all connections when the process is to end."""
        self._shared.closing()
        super().shutdown()

    def look(self, now: float) -> None:
        """Close it if somebody holds it: a sender that is too slow, or a reader that does not read."""
        if self._lies_unread(now):
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif self._is_at_work or self.flow.read_paused:
            self._patient_since = now
            closing = self._shared.closing_since
            if closing is not None and now - closing > CLOSING_SECONDS_MAX and self._is_at_work:
                self._refuse(Problem("unavailable", "The service is shutting down."))
        elif now - self._patient_since > self._patience(REQUEST_SECONDS_MAX):
            cycle = self._last
            if self._is_in_head or (cycle and not cycle.response_complete):
                self._refuse(Problem("request-timeout", f"It took more than {REQUEST_SECONDS_MAX} seconds to arrive."))
            else:
                self.transport.close()

    def _lies_unread(self, now: float) -> bool:
        if not self.transport.get_write_buffer_size():
            self._unread = None
        elif self._unread is None or self._unread[1] is not self.cycle:
            self._unread = (now, self.cycle)
        else:
            return now - self._unread[0] > self._patience(ANSWER_SECONDS_MAX)
        return False

    def _patience(self, seconds: float) -> float:
        return seconds if self._shared.closing_since is None else CLOSING_PATIENCE_SECONDS

    @property
    def _last(self) -> RequestResponseCycle | None:
        """The last request whose headers are complete, and its answer."""
        return self.cycle

    @property
    def _is_in_head(self) -> bool:
        """Whether a request has begun whose headers are not complete."""
        return self._begun is not None and (self._last is None or self._last.scope is not self._begun)

    @property
    def _is_at_work(self) -> bool:
        """Whether a request has arrived and has not been answered: it is our turn."""
        return self._last is not None and not self._last.response_complete and not self._last.more_body

    def _refuse(self, problem: Problem) -> None:
        """Answer at once, if an answer can still be given, and close."""
        if self._last is None or self._last.response_complete or not self._last.response_started:
            response = problem.response()
            headers: list[tuple[bytes, bytes]] = [
                *self.server_state.default_headers,
                *response.raw_headers,
                (b"connection", b"close"),
            ]
            lines = [STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % header for header in headers), b"\r\n"]
            self.transport.write(b"".join([*lines, bytes(response.body)]))
        self.transport.close()


def connections_max() -> int:
    """As many as the process may have, and no more than CONNECTIONS_MAX. Asks for the descriptors that they need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + OTHER_DESCRIPTORS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, allowed - OTHER_DESCRIPTORS)


def _headers_too_large() -> Problem:
    return Problem("headers-too-large", f"The headers are more than {HEADERS_MAX}, or than {HEAD_BYTES_MAX} bytes.")
