"""Making keys: what an operator asks for, checked; the key as it is kept, and its text, which is shown once."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from psycopg import Connection

from access import keys, roles, store
from access.store import StoredKey

NAME_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key that is asked for. Raises ValueError when it cannot be."""

    name: str
    role: str
    scopes: tuple[str, ...] = ()
    user_id: str | None = None
    lifetime: timedelta | None = None
    granted: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > NAME_LENGTH_MAX or not self.name.isprintable():
            raise ValueError(f"a name has 1 to {NAME_LENGTH_MAX} printable characters")
        if self.role == "customer" and self.user_id is None:
            raise ValueError("a customer's key names a user")
        if self.role in {"staff", "operator"} and self.user_id is not None:
            raise ValueError(f"a key of the role {self.role} names no user")
        object.__setattr__(self, "granted", roles.scopes_of(self.role, self.scopes))


def create(connection: Connection, wanted: Wanted, created_by: str) -> tuple[str, str]:
    """Make a key and keep it. Returns its id and its text. Raises psycopg.Error."""
    new = keys.make()
    expires_at = datetime.now(UTC) + wanted.lifetime if wanted.lifetime else None
    scopes = sorted(wanted.granted)
    row = StoredKey(
        new.id, new.id, wanted.name, new.sha256, wanted.role, scopes, wanted.user_id, created_by,
        None, expires_at, None, None, None,
    )  # fmt: skip
    store.insert(connection, row)
    return new.id, new.text
