"""The path under which a proxy serves the API, in front of every path that an answer names.

The proxy takes the prefix off each request, so the application knows no other paths than its own, and stores no others.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Prefixed:
    """An application whose answers have `prefix` in front of the paths in Location, Content-Location and Link."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_prefixed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [(name, self._prefixed(name, value)) for name, value in message["headers"]]
            await send(message)

        await self._app(scope, receive, send_prefixed)

    def _prefixed(self, name: bytes, value: bytes) -> bytes:
        if name in {b"location", b"content-location"} and value.startswith(b"/"):
            return self._prefix + value
        if name == b"link" and value.startswith(b"</"):
            return b"<" + self._prefix + value[1:]
        return value
