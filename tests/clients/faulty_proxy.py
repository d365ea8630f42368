"""An HTTP proxy in front of the API that fails the first try of each command, and logs what passes through it."""

import contextlib
import http.client
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

RETRY_AFTER_SECONDS = 1
_OVERLOADED = json.dumps(
    {
        "type": "/problems/overloaded",
        "title": "Overloaded",
        "status": 503,
        "detail": "",
        "code": "overloaded",
        "retryable": True,
    }
).encode()

Fault = Literal["refuse", "cut"]


@dataclass(frozen=True)
class Try:
    """One request as it arrived: when, what, and with which Idempotency-Key and Sync-Token."""

    at: float
    method: str
    key: str | None
    sync_token: str | None
    body: bytes


class FaultyProxy(http.server.ThreadingHTTPServer):
    """`refuse`: 503 with Retry-After, nothing forwarded. `cut`: forwarded, and the connection closed unanswered."""

    daemon_threads = True

    def __init__(self, api: str, fault: Fault) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = urlsplit(api).netloc
        self.fault = fault
        self.tries: list[Try] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def tries_of(self, name: str) -> list[Try]:
        """The tries of the command whose body has this name in it."""
        return [it for it in self.tries if f'"{name}"'.encode() in it.body]


@contextlib.contextmanager
def faulty(api: str, fault: Fault) -> Iterator[FaultyProxy]:
    """A proxy that serves until the end of the block."""
    with FaultyProxy(api, fault) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on stderr."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key, token = self.headers.get("Idempotency-Key"), self.headers.get("Sync-Token")
        is_first = not any((it.method, it.body) == (self.command, body) for it in self.server.tries)
        self.server.tries.append(Try(time.monotonic(), self.command, key, token, body))
        if self.path.startswith("/broken"):
            self._answer(502, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>")
        elif is_first and self.server.fault == "refuse":
            headers = {"Content-Type": "application/problem+json", "Retry-After": str(RETRY_AFTER_SECONDS)}
            self._answer(503, headers, _OVERLOADED)
        else:
            self._forward(body, answering=not is_first)

    def _forward(self, body: bytes, *, answering: bool) -> None:
        connection = http.client.HTTPConnection(self.server.api, timeout=20)
        headers = {name: text for name, text in self.headers.items() if name.lower() != "connection"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answering:
            self._answer(answer.status, dict(answer.getheaders()), content)
        else:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, text in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
