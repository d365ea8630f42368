"""The public keys of the token issuer (OpenID Connect), fetched in the background.

PyJWT's own client fetches with blocking calls, which would stop the event loop. The issuer's answers are
limited in time and size, redirects are not followed, and no request goes to an address that a token names.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import jwt
import msgspec

from contract.problems import Problem

FETCH_EVERY_SECONDS = 300.0
FETCH_SECONDS_MAX = 5.0
DOCUMENT_BYTES_MAX = 256 * 1024
KEPT_SECONDS_MAX = 24 * 3600.0  # the last good keys hold for so long when the issuer is away
UNKNOWN_SECONDS_MIN = 30.0  # an unknown key id has the keys fetched again, but no more often than this
RSA_BITS_MIN = 2048

log = logging.getLogger(__name__)


class IssuerKey(NamedTuple):
    """A public key of the issuer's, and the one algorithm that it is for, if the issuer says so."""

    key: Any
    algorithm: str | None


class IssuerKeys:
    """The keys of one issuer, by key id."""

    def __init__(self, issuer: str, jwks_url: str | None, clock: Callable[[], float] = monotonic) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._clock = clock
        self._keys: dict[str, IssuerKey] = {}
        self._fetching = asyncio.Lock()
        self._fetched_at: float | None = None
        self._forced_at = float("-inf")

    @asynccontextmanager
    async def kept_current(self) -> AsyncIterator[None]:
        """Fetch the keys in the background, now and every five minutes."""
        task = asyncio.create_task(self._fetch_for_ever(), name="issuer's keys")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def find(self, kid: str) -> IssuerKey:
        """The key with this id. Raises Problem `unauthenticated` without one; `auth-unavailable` without any keys."""
        if not self._keys and self._fetching.locked():
            async with self._fetching:
                pass  # the first fetch is under way: it does not count as one for an unknown key id
        if kid not in self._keys and self._clock() - self._forced_at >= UNKNOWN_SECONDS_MIN:
            self._forced_at = self._clock()
            await self.fetch()
        if self._fetched_at is None or self._clock() - self._fetched_at > KEPT_SECONDS_MAX:
            raise Problem("auth-unavailable", "The keys of the token issuer could not be fetched.")
        if (key := self._keys.get(kid)) is None:
            raise Problem("unauthenticated", "The issuer has no key with the token's key id.")
        return key

    async def fetch(self) -> None:
        """Fetch the keys. On a failure the last good ones stay."""
        async with self._fetching:
            try:
                async with asyncio.timeout(FETCH_SECONDS_MAX), httpx.AsyncClient(trust_env=False) as client:
                    url = self._jwks_url or await self._discovered(client)
                    self._keys = _usable(await _document(client, url))
                    self._fetched_at = self._clock()
            except Exception as error:  # noqa: BLE001 - the next fetch must come, whatever the issuer answers
                log.warning("the keys of the token issuer cannot be fetched: %s: %s", type(error).__name__, error)

    async def _discovered(self, client: httpx.AsyncClient) -> str:
        document = await _document(client, f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        url = document.get("jwks_uri")
        if document.get("issuer") != self._issuer or not isinstance(url, str):
            raise ValueError("the issuer's configuration names another issuer, or no jwks_uri")
        if urlsplit(url).scheme != urlsplit(self._issuer).scheme:
            raise ValueError("the issuer's jwks_uri has another scheme than the issuer")
        return url

    async def _fetch_for_ever(self) -> None:
        while True:
            await self.fetch()
            await asyncio.sleep(FETCH_EVERY_SECONDS)


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """A JSON object. Raises httpx.HTTPError, ValueError and RecursionError."""
    body = b""
    plain = {"Accept-Encoding": "identity"}  # a compressed answer could be far larger than the limit
    async with client.stream("GET", url, headers=plain, follow_redirects=False) as answer:
        if answer.status_code != 200:
            raise ValueError(f"it answered {answer.status_code}")
        async for part in answer.aiter_raw():
            body += part
            if len(body) > DOCUMENT_BYTES_MAX:
                raise ValueError(f"it answered more than {DOCUMENT_BYTES_MAX} bytes")
    return msgspec.json.decode(body, type=dict[str, Any])


def _usable(document: dict[str, Any]) -> dict[str, IssuerKey]:
    """The public keys for signatures, by id. Shared secrets, weak keys and those of other uses are left out."""
    found: dict[str, IssuerKey] = {}
    listed = document.get("keys")
    for one in listed if isinstance(listed, list) else ():
        kid = one.get("kid") if isinstance(one, dict) else None
        if not isinstance(kid, str) or one.get("kty") == "oct" or one.get("use", "sig") != "sig":
            continue
        with contextlib.suppress(Exception):  # PyJWT raises many kinds of errors for keys that it cannot read
            key = jwt.PyJWK(one).key
            if one.get("kty") != "RSA" or key.key_size >= RSA_BITS_MIN:
                found[kid] = IssuerKey(key, one.get("alg"))
    if not found:
        raise ValueError("it has no usable key")
    return found
