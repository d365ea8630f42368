"""The roles, each with the scopes that it has at most."""

from collections.abc import Collection, Iterable, Mapping

from contract.callers import SCOPES

_CUSTOMER = frozenset({"products:read", "users:read", "users:write", "orders:read", "orders:write"})
_STAFF = _CUSTOMER | {"products:write", "stock:write", "sales:read", "events:read"}

ROLES: Mapping[str, frozenset[str]] = {
    "customer": _CUSTOMER,
    "staff": _STAFF,
    "operator": frozenset(SCOPES),
    "integration": frozenset(SCOPES),
}


def widened(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes with what they imply: write implies read. Nothing implies `keys:write`."""
    given = frozenset(scopes)
    implied = {scope.replace(":write", ":read") for scope in given if scope.endswith(":write")}
    return given | (implied & SCOPES.keys())


def scopes_of(role: str, chosen: Collection[str]) -> frozenset[str]:
    """The scopes of a key: all of its role's, or those chosen of them. Raises ValueError, saying what is wrong."""
    if role not in ROLES:
        raise ValueError(f"there is no role {role!r}: use {', '.join(ROLES)}")
    if role == "integration" and not chosen:
        raise ValueError("an integration needs at least one scope")
    scopes = widened(chosen) if chosen else ROLES[role]
    if unknown := sorted(scopes - SCOPES.keys()):
        raise ValueError(f"there is no scope {unknown[0]!r}: use {', '.join(SCOPES)}")
    if excess := sorted(scopes - ROLES[role]):
        raise ValueError(f"the role {role} does not have the scope {excess[0]}")
    return scopes
