"""Tokens of an OpenID Connect issuer (RFC 7519, RFC 8725): from a signed token to a caller."""

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import time
from typing import Any, NamedTuple

import jwt

from access.issuer import IssuerKeys
from access.roles import ROLES
from contract.callers import Caller
from contract.lost_values import is_lost_id
from contract.problems import Problem
from contract.strict_json import parse_json

TOKEN_BYTES_MAX = 8 * 1024
LEEWAY_SECONDS = 30
CACHED_SECONDS_MAX = 60
CACHED_MAX = 10_000
SUBJECT_LENGTH_MAX = 100  # that of an external_id, which links the subject to a user
KEY_ID_LENGTH_MAX = 200

# Headers with which a token could choose how the service verifies it.
_REFUSED = frozenset({"jku", "x5u", "jwk", "x5c", "crit", "b64", "zip"})
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_UNLINKED = frozenset({"users:write"})  # a subject without a user registers itself, and does nothing else
_BY_RANK = ("operator", "staff", "customer")

UserOf = Callable[[str], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Trusted:
    """Which tokens are taken, and the role that a claim's values stand for. Without a claim everybody is a customer."""

    issuer: str
    audience: str
    algorithms: frozenset[str]
    role_claim: str | None
    role_map: Mapping[str, str]


class _Verified(NamedTuple):
    subject: str
    role: str
    until: float


class Tokens:
    """Verifies tokens. `user_of` finds the user whose external_id is a subject."""

    def __init__(self, trusted: Trusted, issuer_keys: IssuerKeys, user_of: UserOf) -> None:
        self._trusted = trusted
        self._issuer_keys = issuer_keys
        self._user_of = user_of
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._linked: dict[bytes, Caller] = {}

    async def find(self, text: str, address: Callable[[], str]) -> Caller:
        """The caller whose token this is; `address` gives the client's.

        Raises Problem `unauthenticated`, `token-expired`, `auth-unavailable`, `rate-limited`.
        """
        digest = hashlib.sha256(text.encode()).digest()
        verified = self._verified.get(digest)
        if verified is None or verified.until <= time():
            self._linked.pop(digest, None)
            verified = await self._verify(text, address)
            self._keep(digest, verified)
        if (caller := self._linked.get(digest)) is None:
            caller = await self._linked_caller(verified)
            if caller.scopes is not _UNLINKED:
                self._linked[digest] = caller
        return caller

    async def _linked_caller(self, verified: _Verified) -> Caller:
        hashed = hashlib.blake2b(f"{self._trusted.issuer}\0{verified.subject}".encode(), digest_size=16).hexdigest()
        account, role = f"token-{hashed}", verified.role
        if role != "customer":
            return Caller(verified.subject, account, role, ROLES[role], kind="token")
        user_id = await self._user_of(verified.subject)
        return Caller(
            verified.subject, account, role, ROLES[role] if user_id else _UNLINKED, user_id=user_id, kind="token"
        )

    async def _verify(self, text: str, address: Callable[[], str]) -> _Verified:
        if len(text) > TOKEN_BYTES_MAX:
            raise _invalid("The token is too long.")
        kid, algorithm = self._head(text)
        key = await self._issuer_keys.find(kid, address)
        if key.algorithm not in {None, algorithm}:
            raise _invalid("The issuer's key is for another algorithm.")
        try:
            claims = jwt.decode(
                text,
                key.key,
                algorithms=[algorithm],
                audience=self._trusted.audience,
                issuer=self._trusted.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            if any(type(claims.get(name, 0)) not in {int, float} for name in ("exp", "nbf", "iat")):
                raise _invalid("A time of the token is not a number.")  # PyJWT takes texts too
            until = min(float(claims["exp"]) + LEEWAY_SECONDS, time() + CACHED_SECONDS_MAX)
        except jwt.ExpiredSignatureError:
            raise Problem("token-expired", "The token has expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            raise _invalid("The token is not valid.") from None
        subject = claims["sub"]
        is_text = isinstance(subject, str) and 1 <= len(subject) <= SUBJECT_LENGTH_MAX and subject.isprintable()
        if not is_text or is_lost_id(subject):  # a lost one would be the account of all who lack theirs
            raise _invalid("The token's subject cannot be used.")
        return _Verified(subject, self._role(claims), until)

    def _head(self, text: str) -> tuple[str, str]:
        """The key id and the algorithm. Raises Problem `unauthenticated` for a header that must not be trusted."""
        parts = text.split(".")
        if len(parts) != 3:
            raise _invalid("The Authorization header holds neither an API key nor a token.")
        header, _ = (_object(part) for part in parts[:2])  # duplicate members are refused in both
        if _REFUSED & header.keys():
            raise _invalid("The token's header names keys or extensions.")
        if not isinstance(kind := header.get("typ", "JWT"), str) or kind.lower() not in _TYPES:
            raise _invalid("The token is of another type.")
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._trusted.algorithms:
            raise _invalid("The token's algorithm is not accepted.")
        if not isinstance(kid, str) or not 1 <= len(kid) <= KEY_ID_LENGTH_MAX:
            raise _invalid("The token names no key.")
        return kid, algorithm

    def _role(self, claims: Mapping[str, Any]) -> str:
        value: Any = claims
        for name in (self._trusted.role_claim or "").split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        named = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        roles = {self._trusted.role_map.get(it) for it in named if isinstance(it, str)}
        return next((role for role in _BY_RANK if role in roles), "customer")

    def _keep(self, digest: bytes, verified: _Verified) -> None:
        self._verified[digest] = verified
        while len(self._verified) > CACHED_MAX:
            oldest, _ = self._verified.popitem(last=False)
            self._linked.pop(oldest, None)


def _object(part: str) -> dict[str, Any]:
    """A part of a token: base64url without padding, of a JSON object without duplicate members."""
    try:
        document = parse_json(base64.urlsafe_b64decode(part.encode("ascii") + b"=" * (-len(part) % 4)))
    except (Problem, binascii.Error, UnicodeEncodeError):
        raise _invalid("The token cannot be read.") from None
    if not isinstance(document, dict):
        raise _invalid("The token cannot be read.")
    return document


def _invalid(detail: str) -> Problem:
    return Problem("unauthenticated", detail)
