"""Lets callers in: finds out who calls, and whether he may do this.

The order of checks: host, credentials, rate, scope. All of them come before anything else of a request is read.
"""

import ipaddress
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope as Connection

from access.holder import KeyHolder
from access.hosts import Hosts, is_of_another_site
from access.limits import Rate
from access.tokens import Tokens
from contract.callers import KEY_BEGINNING, NOBODY, SCOPES, Caller, Requirement
from contract.observation import observation_of
from contract.problems import Problem

_BEARER = b"bearer "
_WITH_PORT = re.compile(r"(?:([0-9.]+)|\[(.+)\]):[0-9]+")
_READS = {"GET", "HEAD"}
_OF_PROXIES = {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
ANYONE = Caller("anyone", "anyone", "operator", frozenset(SCOPES), kind="anyone")
VISITOR = Caller("visitor", "visitor", "visitor", frozenset({"products:read"}), kind="anyone")


@dataclass(frozen=True, slots=True)
class Rates:
    """How much an account may do, and how often an address may fail to show who it is."""

    writes: Rate
    reads: Rate
    failures: Rate


class Guard:
    """Demands an API key, or a token, of every caller.

    `tokens` None: no issuer is trusted. `is_catalog_public`: products are read without a key. `behind_proxy`: a
    proxy in front adds the client's address to X-Forwarded-For.
    """

    def __init__(
        self,
        of_keys: KeyHolder,
        tokens: Tokens | None,
        hosts: Hosts,
        rates: Rates,
        *,
        is_catalog_public: bool = False,
        behind_proxy: bool = False,
    ) -> None:
        self._keys = of_keys
        self._tokens = tokens
        self._hosts = hosts
        self._rates = rates
        self._is_catalog_public = is_catalog_public
        self._behind_proxy = behind_proxy

    async def admit(self, connection: Connection, required: Requirement) -> Caller:
        """The caller of a request.

        Raises Problem `unknown-host`, `unauthenticated`, `token-expired`, `auth-unavailable`, `rate-limited` or
        `missing-scope`.
        """
        self._hosts.check(connection)
        if required.optional:
            return await self._perhaps(connection, required)
        try:
            caller = await self._caller(connection, required)
        except Problem as problem:
            if problem.status_code == 401 and (wait := self._rates.failures.take(self._address(connection))):
                raise limited("Too many requests of this address could not be authenticated.", wait) from None
            raise
        self._limit(connection, caller)
        if required.scope is not None and required.scope not in caller.scopes:
            raise missing_scope(required.scope, caller)
        return caller

    async def _perhaps(self, connection: Connection, required: Requirement) -> Caller:
        """The caller, if the request names one. A probe without a key, or with a wrong one, is answered too."""
        if required.scope is None:
            return NOBODY
        try:
            return await self._caller(connection, required)
        except Problem as problem:
            has_credentials = any(name == b"authorization" for name, _ in connection["headers"])
            if problem.status_code == 401 and has_credentials:
                self._rates.failures.take(self._address(connection))
            return NOBODY

    async def _caller(self, connection: Connection, required: Requirement) -> Caller:
        text = _credentials(connection["headers"])
        if text is None:
            if required.scope == "products:read" and self._is_catalog_public:
                return VISITOR
            if required.scope == "metrics:read" and not self._behind_proxy and self._is_local(connection):
                return Caller("loopback", "loopback", "metrics", frozenset({"metrics:read"}), kind="anyone")
            raise Problem("unauthenticated", "The request has no Authorization header.")
        if text.startswith(KEY_BEGINNING) or self._tokens is None:
            caller = await self._keys.find(text)
            observation_of(connection).key_id = caller.subject
            return caller
        return await self._tokens.find(text, lambda: self._address(connection))

    def _limit(self, connection: Connection, caller: Caller) -> None:
        rate = self._rates.reads if connection["method"] in _READS else self._rates.writes
        if not rate.per_minute:
            return
        account = self._address(connection) if caller is VISITOR else caller.account
        wait = rate.take(account)
        connection["own_headers"] = ((b"ratelimit", rate.state(account)), (b"ratelimit-policy", rate.policy))
        if wait:
            raise limited(f"The account sends {rate.name} faster than {rate.per_minute} a minute allow.", wait)

    def _address(self, connection: Connection) -> str:
        """The client's address; of IPv6 the network, because a client has many addresses."""
        text = _peer(connection)
        if self._behind_proxy:
            for name, value in connection["headers"]:
                if name == b"x-forwarded-for":
                    text = value.decode("latin-1").rpartition(",")[2].strip()  # the last is the proxy's own word
        address = _ip_address(text)
        if address is None:
            return "unknown"
        return str(ipaddress.ip_network(f"{address}/64", strict=False)) if address.version == 6 else str(address)

    @staticmethod
    def _is_local(connection: Connection) -> bool:
        """True for a client on this machine. With a header that proxies add, the client may be anywhere."""
        address = _ip_address(_peer(connection))
        is_forwarded = any(name in _OF_PROXIES for name, _ in connection["headers"])
        return address is not None and address.is_loopback and not is_forwarded


class OpenGuard:
    """Treats every caller as an operator: for NO_AUTH=1, on loopback alone. It checks the Host, as Guard does.

    A page of any origin can have a browser send a POST without a body, and no key is missing from it here. So pages of
    other origins send commands only if `origins` (CORS_ORIGINS) names theirs.
    """

    def __init__(self, hosts: Hosts | None = None, origins: str | None = None) -> None:
        self._hosts = hosts or Hosts("*")
        self._origins = (origins or "").split(",")

    async def admit(self, connection: Connection, required: Requirement) -> Caller:
        """The caller, who may do everything. Raises Problem `unknown-host` or `cross-origin`."""
        self._hosts.check(connection)
        if connection["method"] not in _READS and is_of_another_site(connection):
            origin = Headers(scope=connection).get("origin")
            if "*" not in self._origins and origin not in self._origins:
                raise Problem("cross-origin", "A page of another origin sent this command, and CORS_ORIGINS lacks it.")
        return ANYONE


def missing_scope(scope: str, caller: Caller) -> Problem:
    """Why a caller without a scope is refused."""
    detail = f"This needs the scope {scope}, which the caller does not have."
    return Problem("missing-scope", detail, required=scope, held=sorted(caller.scopes))


def limited(detail: str, wait_seconds: float) -> Problem:
    """Why a caller has to wait."""
    return Problem("rate-limited", detail, headers={"Retry-After": str(math.ceil(wait_seconds))})


def _peer(connection: Connection) -> str:
    return str((connection.get("client") or ("", 0))[0])


def _ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address; that of IPv4 which a socket for both shows as ::ffff:192.0.2.1. None for what is no address.

    Some proxies add the port: `192.0.2.1:51234`, `[2001:db8::1]:443`.
    """
    with_port = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _credentials(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The Authorization header's credentials. Raises Problem `unauthenticated` for two of them, or another scheme."""
    found = [value for name, value in headers if name == b"authorization"]
    if not found:
        return None
    if len(found) > 1:
        raise Problem("unauthenticated", f"Authorization came {len(found)} times.")
    if found[0][: len(_BEARER)].lower() != _BEARER:
        raise Problem("unauthenticated", "The Authorization header is not `Bearer <key>`.")
    return found[0][len(_BEARER) :].strip().decode("latin-1")
