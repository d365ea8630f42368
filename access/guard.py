"""Lets callers in: finds out who calls, and whether he may do this.

The order of checks: host, credentials, rate, scope. All of them come before anything else of a request is read.
"""

from collections.abc import Iterable

from starlette.types import Scope as Connection

from access.holder import KeyHolder
from contract.callers import NOBODY, SCOPES, Caller, Requirement
from contract.problems import Problem

_BEARER = b"bearer "
ANYONE = Caller("anyone", "anyone", "operator", frozenset(SCOPES), kind="anyone")


class Guard:
    """Demands an API key of every caller."""

    def __init__(self, holder: KeyHolder) -> None:
        self._holder = holder

    async def admit(self, connection: Connection, required: Requirement) -> Caller:
        """The caller of a request. Raises Problem `unauthenticated`, `missing-scope` or `auth-unavailable`."""
        try:
            credentials = _credentials(connection["headers"])
            if credentials is None:
                raise Problem("unauthenticated", "The request has no Authorization header.")
            caller = await self._holder.find(credentials)
        except Problem:
            if required.optional:
                return NOBODY
            raise
        if required.scope is not None and required.scope not in caller.scopes and not required.optional:
            raise missing_scope(required.scope, caller)
        return caller


class OpenGuard:
    """Lets everybody in as an operator: for NO_AUTH=1, on loopback alone."""

    async def admit(self, connection: Connection, required: Requirement) -> Caller:
        """The caller, who may do everything."""
        return ANYONE


def missing_scope(scope: str, caller: Caller) -> Problem:
    """Why a caller without a scope is refused."""
    detail = f"This needs the scope {scope}, which the caller does not have."
    return Problem("missing-scope", detail, required=scope, held=sorted(caller.scopes))


def _credentials(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """What the Authorization header carries. Raises Problem `unauthenticated` for two of them, or another scheme."""
    found = [value for name, value in headers if name == b"authorization"]
    if not found:
        return None
    if len(found) > 1:
        raise Problem("unauthenticated", f"Authorization came {len(found)} times.")
    if found[0][: len(_BEARER)].lower() != _BEARER:
        raise Problem("unauthenticated", "The Authorization header is not `Bearer <key>`.")
    return found[0][len(_BEARER) :].strip().decode("latin-1")
