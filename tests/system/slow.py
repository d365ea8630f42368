"""Clients that misbehave on one socket: they send slowly, never end, or do not read."""

import contextlib
import socket
import time
from urllib.parse import urlsplit


class SlowClient:
    """A connection that is written to and read from as a test says, and is never waited for."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=10)
        self._socket.setblocking(False)
        self.received = b""
        self.is_closed = False

    def send(self, data: bytes) -> None:
        """Send what the kernel takes; notice when the other side has closed. What it said before can still be read."""
        with contextlib.suppress(BlockingIOError):
            try:
                self._socket.send(data)
            except ConnectionError:
                self.look()
                self.is_closed = True

    def look(self) -> None:
        """Take what has come."""
        try:
            while chunk := self._socket.recv(65536):
                self.received += chunk
            self.is_closed = True
        except BlockingIOError:
            pass
        except ConnectionError:
            self.is_closed = True

    def answer(self, seconds: float) -> bytes:
        """All that comes until the other side closes. Fails when it does not in time."""
        deadline = time.monotonic() + seconds
        while not self.is_closed:
            assert time.monotonic() < deadline, f"still open after {seconds} s; it has said {self.received[:200]!r}"
            time.sleep(0.01)
            self.look()
        return self.received

    def close(self) -> None:
        self._socket.close()
