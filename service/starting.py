"""Refuses to start on an address where anybody could do anything, and on a database that may lose orders."""

import ipaddress
import logging

import psycopg

from access import store
from database.remedies import in_one_line
from database.sessions import Limits, Unsuitable, connect
from service.errors import MISUSE, OperatorError
from service.health.durability import remedy, switched_off
from service.settings import Settings

STATEMENT_SECONDS_MAX = 5
LOOPBACK = "127.0.0.1"

log = logging.getLogger(__name__)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_exposed(settings: Settings, host: str) -> None:
    """Raise OperatorError when the API must not listen on `host` with these settings."""
    if is_loopback(host):
        return
    if settings.no_auth:
        raise OperatorError(
            f"NO_AUTH lets everybody who reaches {host} do everything: use --host 127.0.0.1, or keys", exit_code=MISUSE
        )
    if not settings.behind_proxy:
        raise OperatorError(
            f"keys must not travel in the clear: put a proxy with TLS in front of {host}, and set BEHIND_PROXY=1",
            exit_code=MISUSE,
        )


def refuse_unsafe(settings: Settings, host: str = LOOPBACK) -> None:
    """Raise OperatorError when a database must not be used (its encoding is not UTF8, say), or is not safe.

    It is not safe when its server may lose what it acknowledges, unless ALLOW_UNSAFE_DATABASE is set; nor when there is
    no API key, and the API is to listen on a `host` that other machines reach. A server that does not answer is left
    to the processes, which wait for it; `/readyz` asks the same again.
    """
    if settings.database_url is None:
        return
    try:
        with connect(settings.database_url, "orders start", Limits(statement=STATEMENT_SECONDS_MAX)) as connection:
            names = switched_off(connection)
            if names and not settings.allow_unsafe_database:
                raise OperatorError(
                    f"the database is not durable ({', '.join(names)} off): {remedy(names)}; "
                    "ALLOW_UNSAFE_DATABASE=1 starts all the same, for tests and throw-away data"
                )
            if not (is_loopback(host) or settings.jwt_issuer or store.has_any(connection)):
                raise OperatorError(f"there is no API key yet: run `orders keys create` before you serve on {host}")
    except Unsuitable as error:
        raise OperatorError(str(error)) from error
    except psycopg.Error as error:
        log.warning("whether the database is safe is not known yet: %s", in_one_line(error))
    if settings.query_database_url not in (None, settings.database_url):
        try:
            connect(settings.query_database_url, "orders start", Limits(statement=STATEMENT_SECONDS_MAX)).close()
        except Unsuitable as error:
            raise OperatorError(f"QUERY_DATABASE_URL: {error}") from error
        except psycopg.OperationalError:
            pass  # /readyz says so; commands are taken
