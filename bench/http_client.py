"""An HTTP client that costs next to nothing, for measurements where the client shares the machine with the server."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

# Servers hang up on connections that rest: ours after five seconds.
REST_SECONDS_MAX = 2


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    head: bytes = b""  # in lower case


def get(host: str, path: str) -> bytes:
    """A request."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def post(host: str, path: str, body: bytes) -> bytes:
    """A request."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, one request at a time."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._answered: Callable[[Answer | None], None] | None = None

    @classmethod
    async def open(cls, base_url: str) -> "Connection":
        parts = urlsplit(base_url)
        assert parts.hostname is not None
        assert parts.port is not None
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(parts.netloc), parts.hostname, parts.port)
        return connection

    # uvloop's transports are none of asyncio's classes, so this cannot be asked of a BaseTransport.
    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._tell(None)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = self._received[:end].lower()
        _, _, rest = head.partition(b"\r\ncontent-length:")
        end += int(rest.partition(b"\r\n")[0]) if rest else 0
        if len(self._received) < end:
            return
        body, self._received = self._received[len(head) : end], self._received[end:]
        self._tell(Answer(int(head[9:12]), body, head))

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def exchange(self, request: bytes, answered: Callable[[Answer | None], None]) -> None:
        """Send what `get` or `post` made; `answered` hears the answer, or None when there will be none."""
        if self._transport is None:
            answered(None)
            return
        self._answered = answered
        self._transport.write(request)

    async def get(self, path: str) -> Answer:
        """Raises ConnectionError when there is no answer."""
        return await self._answer(get(self._host, path))

    async def post(self, path: str, body: bytes) -> Answer:
        """Raises ConnectionError when there is no answer."""
        return await self._answer(post(self._host, path, body))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def _answer(self, request: bytes) -> Answer:
        waiting: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self.exchange(request, lambda answer: None if waiting.done() else waiting.set_result(answer))
        answer = await waiting
        if answer is None:
            raise ConnectionResetError("the connection was closed before the answer came")
        return answer

    def _tell(self, answer: Answer | None) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(answer)


class Pool:
    """Connections that are opened when none is free, up to `most`; then callers wait for a free one."""

    def __init__(self, base_url: str, most: int) -> None:
        self._base_url = base_url
        self._free: list[tuple[Connection, float]] = []
        self._most = asyncio.Semaphore(most)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with self._most:
            connection = self._last_used() or await Connection.open(self._base_url)
            yield connection
            self._free.append((connection, time.monotonic()))

    def close(self) -> None:
        for connection, _ in self._free:
            connection.close()
        self._free.clear()

    def _last_used(self) -> Connection | None:
        """The one that was used last, unless it has rested too long: then all have."""
        if self._free and time.monotonic() - self._free[-1][1] > REST_SECONDS_MAX:
            self.close()
        return self._free.pop()[0] if self._free else None
