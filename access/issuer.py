"""The public keys of the token issuer (OpenID Connect), fetched in the background.

PyJWT's own client fetches with blocking calls, which would stop the event loop. The issuer's answers are
limited in time and size, redirects are not followed, and no request goes to an address that a token names.

A request with an unknown key id waits for a fetch, because the issuer may have begun to use a new key. Anybody can make
up key ids, so few may wait, for a short time, and a place goes to the client address that has fewer of them.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
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
WAITING_MAX = 100
WAIT_SECONDS_MAX = 2.5  # a command that waits so long for the keys is still answered within 10 seconds
RSA_BITS_MIN = 2048
_REMEDY = "check JWT_ISSUER and JWT_JWKS_URL, and that the issuer answers"

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
        self._fetching: asyncio.Task[None] | None = None
        self._fetched_at = float("-inf")
        self.trouble: str | None = None  # why the last fetch failed, in words for operators
        self._forced_at = float("-inf")
        self._waiting: dict[asyncio.Future[None], str] = {}

    @asynccontextmanager
    async def kept_current(self) -> AsyncIterator[None]:
        """Fetch the keys in the background, now and every five minutes."""
        task = asyncio.create_task(self._fetch_for_ever(), name="issuer's keys")
        try:
            yield
        finally:
            tasks = [task, *filter(None, [self._fetching])]
            for one in tasks:
                one.cancel()
            await asyncio.wait(tasks)

    async def find(self, kid: str, address: Callable[[], str]) -> IssuerKey:
        """The key with this id. `address` is called for the client's, if the request has to wait for a fetch.

        Raises Problem `unauthenticated` when the issuer has no such key, `auth-unavailable` when the issuer does not
        answer, and `rate-limited` when too many requests wait.
        """
        if kid not in self._keys and self._useful_fetch():
            await self._wait_for(kid, address())
        key = self._keys.get(kid)
        if self._clock() - self._fetched_at > KEPT_SECONDS_MAX or (key is None and self.trouble):
            raise Problem("auth-unavailable", "The keys of the token issuer could not be fetched.")
        if key is None:
            raise Problem("unauthenticated", "The issuer has no key with the token's key id.")
        return key

    async def fetch(self) -> None:
        """Fetch the keys, or wait for the fetch that is under way. On a failure the last good ones stay."""
        await asyncio.wait([self._fetch()])

    def _fetch(self) -> asyncio.Task[None]:
        """The fetch that is under way, or else a new one."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch_once(), name="fetch of the issuer's keys")
        return self._fetching

    def _useful_fetch(self) -> asyncio.Task[None] | None:
        """The fetch that may bring an unknown key: one that is under way, or else a new one if one is allowed."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        if self._clock() - self._forced_at < UNKNOWN_SECONDS_MIN:
            return None
        self._forced_at = self._clock()
        return self._fetch()

    async def _wait_for(self, kid: str, address: str) -> None:
        """Wait for fetches until one brings the key, or none is left that may."""
        with self._place(address) as place:
            try:
                async with asyncio.timeout(WAIT_SECONDS_MAX):
                    # The fetch that is under way may have begun too early: then another one follows it.
                    while kid not in self._keys and (fetch := self._useful_fetch()):
                        await asyncio.wait([fetch, place], return_when=asyncio.FIRST_COMPLETED)
                        if place.done():
                            raise _crowded()
            except TimeoutError:
                raise Problem("auth-unavailable", "The token issuer has not sent its keys in time.") from None

    @contextlib.contextmanager
    def _place(self, address: str) -> Iterator[asyncio.Future[None]]:
        """A place among the requests that wait. It is done when the request has to give its place up.

        When all places are taken, the address that has most of them gives one up to an address that has fewer.
        """
        if len(self._waiting) >= WAITING_MAX:
            held = Counter(self._waiting.values())
            ((other, most),) = held.most_common(1)
            if held[address] + 1 >= most:
                raise _crowded()
            given_up = next(place for place, by in self._waiting.items() if by == other)
            del self._waiting[given_up]
            given_up.set_result(None)
        place = asyncio.get_running_loop().create_future()
        self._waiting[place] = address
        try:
            yield place
        finally:
            self._waiting.pop(place, None)

    async def _fetch_once(self) -> None:
        """Ask the issuer, and keep its answer. Raises nothing: a failure is logged and remembered."""
        try:
            async with asyncio.timeout(FETCH_SECONDS_MAX), httpx.AsyncClient(trust_env=False) as client:
                url = self._jwks_url or await self._discovered(client)
                # In a thread: to check hundreds of keys takes long.
                self._keys = await asyncio.to_thread(_usable, await _document(client, url))
                self._fetched_at, self.trouble = self._clock(), None
        except Exception as error:  # noqa: BLE001 - the next fetch must come, whatever the issuer answers
            said = f"{type(error).__name__}: {error}" if str(error) else f"no answer in {FETCH_SECONDS_MAX:g} s"
            self.trouble = f"the keys of the token issuer cannot be fetched ({said}): {_REMEDY}"
            log.warning("%s", self.trouble)

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


def _crowded() -> Problem:
    return Problem("rate-limited", "Too many requests wait for the keys of the token issuer.")


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
