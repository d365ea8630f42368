"""Where a request begins and ends, where httptools alone does not decide it as RFC 9112 does."""

import httptools

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


def has_one_host(parser: httptools.HttpRequestParser, headers: _Headers) -> bool:
    """Whether a request names its host once, as HTTP/1.1 demands. HTTP/1.0 demands nothing."""
    return [name for name, _ in headers].count(b"host") == 1 or parser.get_http_version() == "1.0"
