"""The caller of a request, the scopes that routes declare, and the resources that a caller may see.

A route declares its scope as OpenAPI's security requirement, and StrictRoute enforces that declaration: so the
document and the check cannot differ. A guard (package `access`) turns a request into a Caller.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from starlette.requests import Request
from starlette.types import Scope as Connection

# Every scope there is, and what it allows.
SCOPES: Mapping[str, str] = {
    "users:read": "read users",
    "users:write": "register, change and delete users",
    "products:read": "read products",
    "products:write": "add, change and discontinue products",
    "stock:write": "adjust stock",
    "orders:read": "read orders",
    "orders:write": "place and cancel orders",
    "sales:read": "read sales",
    "events:read": "read the log",
    "ops:read": "read the state of the service, its keys and the audit",
    "ops:write": "replay, retry and skip",
    "keys:write": "create, rotate and revoke API keys",
    "metrics:read": "read metrics",
}
KEY_BEGINNING = "ok_live_"  # of every API key, so that scanners and log lines can find it
SCHEME = "bearer"  # the name of the security scheme in the OpenAPI document

Kind = Literal["key", "token", "anyone"]


@dataclass(frozen=True, slots=True)
class Viewer:
    """The resources that a caller may see: all, or those of the user `user_id` (None: of no user)."""

    user_id: str | None
    everyone: bool = False

    def sees(self, owner: str | None) -> bool:
        """Return whether the viewer may see resources of the user `owner` (None: they belong to no user)."""
        return self.everyone or (owner is not None and owner == self.user_id)


NOBODYS_ID = "00000000-0000-0000-0000-000000000000"  # no resource has it
EVERYONE = Viewer(None, everyone=True)


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request.

    `subject` is the id of the key, or the token's subject. `account` is the same before and after a key is rotated:
    Idempotency-Keys and rate limits belong to it. `user_id` is the user that a customer is.
    """

    subject: str
    account: str
    role: str
    scopes: frozenset[str]
    user_id: str | None = None
    kind: Kind = "key"

    @property
    def viewer(self) -> Viewer:
        own_only = self.role == "customer" or self.user_id is not None
        return Viewer(self.user_id) if own_only else EVERYONE

    @property
    def actor(self) -> dict[str, str]:
        """The caller as the metadata of events has him: no name, no address."""
        return {"kind": self.kind, "id": self.subject}


@dataclass(frozen=True, slots=True)
class Requirement:
    """The requirement of a route. `scope` None: any caller. `optional`: requests without a caller are served too."""

    scope: str | None
    optional: bool = False


NOBODY = Caller("nobody", "nobody", "nobody", frozenset(), kind="anyone")

Security = list[dict[str, list[str]]]  # OpenAPI's, of one operation

PUBLIC: Security = []  # no credentials; OpenAPI's empty list of requirements
ANY_CALLER: Security = [{SCHEME: []}]


def scope(name: str, *, optional: bool = False) -> Security:
    """The security requirement of a route that needs this scope. `optional`: its answer says less without it."""
    if name not in SCOPES:
        raise ValueError(f"there is no scope {name!r}")
    required = {SCHEME: [name]}
    return [{}, required] if optional else [required]


def requirement_of(openapi: Mapping[str, Any] | None) -> Requirement | None:
    """The requirement in a route's `openapi_extra`; None when it declares nothing. `public` routes need no caller."""
    security = (openapi or {}).get("security")
    if security is None:
        return None
    named = [it[SCHEME] for it in security if SCHEME in it]
    return Requirement(named[0][0] if named and named[0] else None, optional=not security or {} in security)


class Guard(Protocol):
    """Lets callers in. The application has one, as `app.state.guard`."""

    async def admit(self, connection: Connection, required: Requirement) -> Caller:
        """The caller of a request. Raises Problem `unauthenticated`, `missing-scope`, `rate-limited` and others."""


async def admit(connection: Connection, required: Requirement) -> None:
    """Let the caller of a request in, or raise Problem; `caller_of` knows him from here on."""
    connection["caller"] = await connection["app"].state.guard.admit(connection, required)


def caller_of(request: Request) -> Caller:
    """The caller of a request; NOBODY for a route that needs none, when none was named."""
    caller: Caller = request.scope["caller"]
    return caller
