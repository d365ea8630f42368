"""Which Host headers are served, and which pages send requests.

A web page must not reach a local service by a name of its own (DNS rebinding), nor by a form of its own.
"""

import ipaddress
import re

from starlette.datastructures import Headers
from starlette.types import Scope as Connection

from contract.problems import Problem

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
KNOWN_MAX = 1_000


class Hosts:
    """The names of `allowed`, loopback, and the address that the client connected to. `*` allows all."""

    def __init__(self, allowed: str | None) -> None:
        names = [it.strip().lower() for it in (allowed or "").split(",") if it.strip()]
        self._all = "*" in names
        self._allowed = frozenset(names)
        self._known: set[bytes] = set()

    def check(self, connection: Connection) -> None:
        """Raise Problem `unknown-host` for a Host that is not served. A request without one comes from no browser."""
        if self._all:
            return
        for name, value in connection["headers"]:
            if name == b"host" and value not in self._known:
                if not self._serves(value, connection):
                    raise Problem("unknown-host", "The Host header names a host that is not served here.")
                if len(self._known) < KNOWN_MAX:
                    self._known.add(value)

    def _serves(self, host: bytes, connection: Connection) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].decode().strip("[]").lower().rstrip(".")
        if name in self._allowed or name == "localhost":
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        own = connection.get("server") or ("", 0)
        return address.is_loopback or str(address) == own[0]


def is_of_another_site(connection: Connection) -> bool:
    """True if a page of another origin had the browser send this request. Clients that are no browser send neither.

    Browsers send Sec-Fetch-Site over https and to loopback, and Origin with every POST.
    """
    headers = Headers(scope=connection)
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
