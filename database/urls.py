"""Which URLs of PostgreSQL can never work, whatever server they lead to, and what else libpq reads beside them."""

import os
import re
from typing import Any

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

# libpq reads these only while it connects, and some of them only over TCP.
_NUMBERS = (
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
)
_IN_PASSWORDS = "in a user or a password write %40 for @, %3A for :, %2F for / and %20 for a space"
# No server listens here: libpq only reads the settings and contacts no server.
_NOWHERE = "/nonexistent"


def forget_environment() -> None:
    """Remove libpq's variables, such as PGHOSTADDR, from the environment: the URL alone says how to connect."""
    for it in pq.Conninfo.get_defaults():
        if it.envvar:
            os.environ.pop(it.envvar.decode(), None)


def defect_of(url: str) -> str | None:
    """Why no connection with this URL, and the environment's PG* variables, can ever succeed; None if one may.

    It contacts no server and never quotes a password. Everything that a server may say later (no such database, a wrong
    password) can be mended there: to the callers it is an outage.
    """
    try:
        given = conninfo_to_dict(url)
    except ProgrammingError as error:
        # The text behind a colon, or in quotation marks, may be the password.
        said = re.sub('"[^"]*"?', "...", str(error).partition(":")[0].strip())
        return f"it has a space; {_IN_PASSWORDS}" if "spaces" in said else said
    # The first character may be one: then the host is an abstract Unix socket.
    if any("@" in host[1:] for host in str(given.get("host") or "").split(",")):
        return f"it has a second @; {_IN_PASSWORDS}"
    for port in str(given.get("port") or "5432").split(","):
        # Of several hosts one may have no port: it has the usual one.
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            return f"its port is no number from 1 to 65535; {_IN_PASSWORDS}"  # it may be a part of the password
    for name in _NUMBERS:
        if not re.fullmatch(r"-?[0-9]{1,9}", str(given.get(name) or "0")):
            return f"{name} {given[name]!r} is no number"
    if str(given.get("replication") or "off").lower() not in {"off", "false", "no", "0"}:
        return "replication makes a connection that copies the server: leave it out"
    return _refusal_of_libpq(given)


def _refusal_of_libpq(given: dict[str, Any]) -> str | None:
    defaults = {it.keyword.decode(): it.val for it in pq.Conninfo.get_defaults()}
    tried = given | {"gssencmode": None} if given.get("gssencmode") == "require" else given  # a local socket has none
    hosts, addresses = (str(given.get(name) or (defaults[name] or b"").decode()) for name in ("host", "hostaddr"))
    if not addresses or not hosts or hosts.count(",") == addresses.count(","):
        tried = tried | {"host": ",".join([_NOWHERE] * ((addresses or hosts).count(",") + 1)), "hostaddr": None}
    connection = pq.PGconn.connect_start(make_conninfo(**tried).encode())
    said = connection.error_message.decode(errors="replace").partition("\n")[0]
    connection.finish()
    # A service's file may name hosts and ports of its own, which these hosts do not go with.
    has_service = given.get("service") or defaults["service"]
    is_fine = said.startswith("connection to server") or (has_service and said.startswith("could not match"))
    return None if is_fine else said
