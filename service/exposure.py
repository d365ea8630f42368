"""Refuses to serve on an address where anybody could do anything."""

import ipaddress
import logging

import psycopg

from access import store
from database.sessions import Limits, connect
from service.errors import OperatorError
from service.settings import Settings

STATEMENT_SECONDS_MAX = 5

log = logging.getLogger(__name__)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse(settings: Settings, host: str) -> None:
    """Raise OperatorError when the API must not listen on `host` with these settings."""
    if is_loopback(host):
        return
    if settings.no_auth:
        raise OperatorError(
            f"NO_AUTH lets everybody who reaches {host} do everything: use --host 127.0.0.1, or keys", exit_code=2
        )
    if not settings.behind_proxy:
        raise OperatorError(
            f"keys must not travel in the clear: put a proxy with TLS in front of {host}, and set BEHIND_PROXY=1",
            exit_code=2,
        )


def refuse_without_callers(settings: Settings, host: str) -> None:
    """Raise OperatorError when the API would listen on `host`, and no caller has a key."""
    if is_loopback(host) or settings.database_url is None or settings.jwt_issuer is not None:
        return
    try:
        with connect(settings.database_url, "orders start", Limits(statement=STATEMENT_SECONDS_MAX)) as connection:
            if store.has_any(connection):
                return
    except psycopg.Error as error:
        log.warning("whether there are API keys is not known yet: %s", str(error).partition("\n")[0])
        return
    raise OperatorError(f"there is no API key yet: run `orders keys create` before you serve on {host}")
