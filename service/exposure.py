"""Refuses to serve on an address where anybody could do anything."""

import ipaddress

from service.errors import OperatorError
from service.settings import Settings


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse(settings: Settings, host: str) -> None:
    """Raise OperatorError when the API must not listen on `host` with these settings."""
    if settings.no_auth and not is_loopback(host):
        raise OperatorError(
            f"NO_AUTH lets everybody who reaches {host} do everything: use --host 127.0.0.1, or keys", exit_code=2
        )
