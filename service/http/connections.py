"""Connections that cannot be held: by sending slowly, by sending too much, by not reading, or by being too many.

uvicorn bounds none of that. One look at all connections a second does it here, so that a request pays for a time stamp
and no more.
"""

import asyncio
import resource
from collections import Counter
from collections.abc import Callable
from typing import Self

import httptools
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from contract.problems import Problem
from contract.requests import request_id
from service.http import framing, refusing
from service.http.reading import Reading
from service.http.refusing import Glance, NoRoom

CONNECTIONS_MAX = 4_000
# Files and sockets of everything else: databases, broker, logs.
OTHER_DESCRIPTORS = 100
# From its first byte to its last, whatever it is.
REQUEST_SECONDS_MAX = 10
# From SIGTERM on nobody is waited for any longer than this, neither senders nor readers; and what is still at work
# after the second is refused. The writer has answered everybody by then.
CLOSING_PATIENCE_SECONDS = 2
CLOSING_SECONDS_MAX = 7
LOOK_EVERY_SECONDS = 1

URL_BYTES_MAX = 8 * 1024
HEADERS_MAX = 100
HEAD_BYTES_MAX = 32 * 1024
# Requests under way, without those that only wait: commands for the writer, reads for their Sync-Token. All share
# one event loop, so more of them would delay every answer, refusals too.
REQUESTS_MAX = 500

_READING = {b"GET", b"HEAD", b"OPTIONS"}
# Whoever watches is to see an overload, not to be refused by it: a process that is busy is not to be killed as dead.
_WATCHING = {b"/healthz", b"/readyz", b"/metrics"}


class Connections:
    """What all connections of a process share: their number, the look at them, and what there is room for.

    `waiting` is how many requests only wait: commands for the writer, reads for their Sync-Token. `commands_are_full`
    is whether the writer takes no more. `refused` counts what there was no room for, by reason. `prefix` is what a
    proxy puts in front of the API's paths.
    """

    def __init__(
        self,
        waiting: Callable[[], int],
        commands_are_full: Callable[[], bool],
        closing: Callable[[], None],
        most: int | None = None,
        prefix: str = "",
    ) -> None:
        self._waiting = waiting
        self._commands_are_full = commands_are_full
        self._closing = closing
        self.most = most or connections_max()
        self.prefix = prefix
        self.closing_since: float | None = None
        self.refused = Counter[str](dict.fromkeys(refusing.REASONS, 0))
        self.glance = Glance()
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

    def has_room(self, under_way: int) -> bool:
        """Whether there is room for whatever is asked for, when so many requests are under way."""
        return not (self._is_crowded(under_way) or self._commands_are_full())

    def no_room(self, under_way: int, method: bytes, url: bytes) -> NoRoom | None:
        """Why there is no room for this request; None when there is."""
        if self._is_crowded(under_way) and url not in _WATCHING:
            return refusing.REQUESTS
        if method not in _READING and self._commands_are_full():
            return refusing.COMMANDS
        return None

    def _is_crowded(self, under_way: int) -> bool:
        return under_way - self._waiting() > REQUESTS_MAX

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
    message_event = asyncio.Event()  # nobody waits for it


class Connection(HttpToolsProtocol):
    """One connection. The lifespan's state has its `Connections`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._shared: Connections = self.app_state["connections"]
        self._patient_since = self.loop.time()
        self._head_bytes = 0
        self._is_arriving = self._is_in_head = False  # a request, or its head, whose end has not come
        self._reading = Reading()
        if not self._shared.opened(self):
            self._shared.refused[refusing.CONNECTIONS.reason] += 1
            self._refuse(refusing.CONNECTIONS.problem)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._shared.has_room(len(self.tasks)) and self._refuses_at_a_glance(data):
            return
        self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        self._feed(data)
        if not self._is_in_head:
            self._head_bytes = 0
        elif self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse(_headers_too_large())

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
            except httptools.HttpParserError:
                self.send_400_response("")
                return
            else:
                return

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_arriving = self._is_in_head = True
        self._patient_since = self.loop.time()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # _feed parses this head again
        self._is_in_head = False
        method = self.parser.get_method()
        no_room = self._shared.no_room(len(self.tasks), method, self.url)
        if no_room and self._can_refuse_at_once(method):
            self._refuse_at_once(no_room, request_id(self.headers))
            # What comes of the body is passed over.
            self.cycle = _Answered()  # type: ignore[assignment] # it stands in for uvicorn's
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

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._is_arriving = False

    def _refuses_at_a_glance(self, data: bytes) -> bool:
        """Refuse a whole request that there is no room for, unread. False when it needs a closer look."""
        if self._is_arriving or self._is_answering:
            return False
        asked = self._shared.glance.at(data)
        if asked is None or asked[0] == b"HEAD":
            return False
        no_room = self._shared.no_room(len(self.tasks), *asked)
        if no_room is None:
            return False
        self._unset_keepalive_if_required()
        self._patient_since = self.loop.time()
        self._refuse_at_once(no_room, self._shared.glance.request_id)
        return True

    def _refuse_at_once(self, no_room: NoRoom, sent_id: bytes | None) -> None:
        """Refuse with neither task nor application: most must be refused when there is least time for it."""
        self._shared.refused[no_room.reason] += 1
        self.transport.write(no_room.answer(self.server_state.default_headers, sent_id, self._shared.prefix))

    @property
    def _is_answering(self) -> bool:
        """Whether an earlier request's answer is not out yet."""
        return (self._last is not None and not self._last.response_complete) or self.flow.write_paused

    def _can_refuse_at_once(self, method: bytes) -> bool:
        """Whether nothing about a request calls for a closer look."""
        return (
            not (self._is_answering or self.expect_100_continue)
            and self.parser.should_keep_alive()
            and method != b"HEAD"
            and len(self.headers) <= HEADERS_MAX
        )

    def _refusal(self, no_room: NoRoom | None) -> ASGIApp | None:
        """What answers this request in the application's place, before anything of its body is read."""
        problem = self._problem(no_room)
        return problem.response(request_id(self.headers), self._shared.prefix) if problem else None

    def _problem(self, no_room: NoRoom | None) -> Problem | None:
        if len(self.url) > URL_BYTES_MAX:
            return Problem("uri-too-long", f"The URI has more than {URL_BYTES_MAX} bytes.")
        if len(self.headers) > HEADERS_MAX or (
            self._head_bytes > HEAD_BYTES_MAX
            and sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX
        ):
            return _headers_too_large()
        if not framing.has_one_host(self.parser, self.headers):
            return Problem("malformed-request", "The request must have exactly one Host header.")
        if no_room:
            self._shared.refused[no_room.reason] += 1
            return no_room.problem
        return None

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
        """Close the connection if its client sends too slowly or has stopped reading."""
        closing = self._shared.closing_since
        if self._reading.stalls(self.transport, self.cycle, now) or self._reads_too_long(closing, now):
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif self._is_at_work or self.flow.read_paused or self._reading.since is not None:
            self._patient_since = now
            if closing is not None and now - closing > CLOSING_SECONDS_MAX and self._is_at_work:
                self._refuse(Problem("unavailable", "The service is shutting down."))
        elif now - self._patient_since > (REQUEST_SECONDS_MAX if closing is None else CLOSING_PATIENCE_SECONDS):
            cycle = self._last
            if self._is_in_head or (cycle and not cycle.response_complete):
                self._refuse(Problem("request-timeout", f"It took more than {REQUEST_SECONDS_MAX} seconds to arrive."))
            else:
                self.transport.close()

    def _reads_too_long(self, closing_since: float | None, now: float) -> bool:
        """Whether the process is stopping, and the client has not read its answer in the time that it has for that."""
        if closing_since is None or self._reading.since is None:
            return False
        return now - max(closing_since, self._reading.since) > CLOSING_PATIENCE_SECONDS

    @property
    def _last(self) -> RequestResponseCycle | None:
        """The last request whose headers are complete, and its answer."""
        return self.cycle

    @property
    def _is_at_work(self) -> bool:
        """Whether a request has arrived and has not been answered: it is our turn."""
        return self._last is not None and not self._last.response_complete and not self._last.more_body

    def _refuse(self, problem: Problem) -> None:
        """Answer at once, if an answer can still be given, and close."""
        if self._last is None or self._last.response_complete or not self._last.response_started:
            asked = self.cycle.scope["headers"] if self._is_at_work else self.headers
            response = problem.response(request_id(asked or ()), self._shared.prefix)
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
