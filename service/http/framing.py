"""Where a request begins and ends, where httptools alone does not decide it as RFC 9112 does."""

import re

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What RFC 3986 allows in a host, with a port. Nothing of it ends a host, so all who read it find the same one.
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_Headers = list[tuple[bytes, bytes]]


def new_parser(protocol: object) -> httptools.HttpRequestParser:
    """Make a parser like the one that uvicorn makes for a new connection."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def without_upgrade(parser: httptools.HttpRequestParser, url: bytes, headers: _Headers) -> bytes | None:
    """Return the head without its Upgrade headers; None when it is CONNECT, or cannot be written again safely."""
    method = parser.get_method()
    if method == b"CONNECT" or any(b"\r" in value or b"\n" in value for _, value in headers):
        return None
    lines = [b"%b %b HTTP/%b" % (method, url, parser.get_http_version().encode())]
    lines += [b"%b: %b" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])


def fault(parser: httptools.HttpRequestParser, url: bytes, headers: _Headers) -> str | None:
    """Return what is wrong with a head that httptools lets pass; None if nothing is."""
    version = parser.get_http_version()
    if version not in {"1.0", "1.1"}:
        return "The service speaks HTTP/1.1."
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 and (hosts or version == "1.1"):  # HTTP/1.0 demands none
        return "The request must have exactly one Host header."
    if hosts and not _HOST.fullmatch(hosts[0]):
        return "The Host header is no host."
    if hosts and b"://" in url[:8] and url.split(b"/", 3)[2].lower() != hosts[0].lower():
        return "The Host header names another host than the URI."
    encodings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if encodings and (encodings != [b"chunked"] or version == "1.0"):
        return "The only Transfer-Encoding that the service reads is chunked, in HTTP/1.1."
    return None


def closing_unless_read(app: ASGIApp) -> ASGIApp:
    """The application; it closes the connection if it answers without having asked for the body.

    A client that waits for 100 Continue then never sends the body. Some, such as Go's before 1.22.5, use the connection
    again all the same, and the next request would be read as the body.
    """

    async def closing(scope: Scope, receive: Receive, send: Send) -> None:
        is_read = False

        async def read() -> Message:
            nonlocal is_read
            is_read = True
            return await receive()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_read:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await app(scope, read, answer)

    return closing
