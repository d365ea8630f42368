"""Making, rotating and revoking keys: each is a row and an event of the audit, in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from psycopg import AsyncConnection

from access import audit, keys, roles, store
from access.store import StoredKey
from contract.callers import NOBODYS_ID

NAME_LENGTH_MAX = 200
OVERLAP_DEFAULT = timedelta(hours=24)
OVERLAP_MAX = timedelta(days=30)


class NoSuchKey(Exception):
    """There is no key with this id that could still be used."""


class NoSuchUser(Exception):
    """There is no user with the id that a new key names."""


class LacksScope(Exception):
    """The caller asks for a key with a scope that the caller lacks."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope


@dataclass(frozen=True, slots=True)
class Issued:
    """A key that was made. `text` is the secret: it is shown once, and never kept."""

    row: StoredKey
    text: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wish for a new key. Raises ValueError when the rules do not allow such a key."""

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
        if self.lifetime is not None and self.lifetime <= timedelta(0):
            raise ValueError("the lifetime of a key must be longer than 0: leave it out for a key that does not expire")
        if self.user_id == NOBODYS_ID:
            raise ValueError(f"no user has the id {NOBODYS_ID}")
        if self.role in {"staff", "operator"} and self.user_id is not None:
            raise ValueError(f"a key of the role {self.role} names no user")
        object.__setattr__(self, "granted", roles.scopes_of(self.role, self.scopes))
        if self.user_id is not None and not self.granted <= roles.ROLES["customer"]:
            raise ValueError("a key that names a user has a customer's scopes at most")


async def create(
    database_url: str,
    wanted: Wanted,
    actor: Mapping[str, str],
    request_id: str | None = None,
    *,
    first: audit.Change | None = None,
) -> Issued:
    """Make a key. `first` runs before, in the same transaction.

    Raises NoSuchUser, what `first` raises, and what `audit.append_act` raises.
    """
    new = keys.make()
    now = datetime.now(UTC)
    row = StoredKey(
        id=new.id,
        account=new.id,
        name=wanted.name,
        sha256=new.sha256,
        role=wanted.role,
        scopes=sorted(wanted.granted),
        user_id=wanted.user_id,
        created_by=f"{actor['kind']} {actor['id']}",
        created_at=now,
        expires_at=None if wanted.lifetime is None else now + wanted.lifetime,
    )

    async def change(connection: AsyncConnection) -> None:
        if first is not None:
            await first(connection)
        if row.user_id is not None and not await store.has_user(connection, row.user_id):
            raise NoSuchUser(row.user_id)
        await store.insert(connection, row)

    await audit.append_act(
        database_url, actor, "key.created", f"key {new.id}", wanted.name, request_id=request_id, change=change
    )
    return Issued(row, new.text)


async def rotate(
    database_url: str,
    id_: str,
    overlap: timedelta,
    actor: Mapping[str, str],
    request_id: str | None = None,
    scopes_held: frozenset[str] | None = None,
) -> Issued:
    """Make a key in place of another, which stays valid for `overlap`.

    `scopes_held`: the caller's scopes; None for the command line, which may rotate any key. Raises NoSuchKey, and
    LacksScope when the key has a scope that is not among them.
    """
    new = keys.make()
    issued: list[Issued] = []

    async def change(connection: AsyncConnection) -> None:
        now = datetime.now(UTC)
        old = await store.locked(connection, id_)
        if old is None or not old.is_valid(now) or old.replaced_by is not None:
            raise NoSuchKey(id_)
        if scopes_held is not None and not roles.widened(old.scopes) <= scopes_held:
            raise LacksScope(min(roles.widened(old.scopes) - scopes_held))
        lifetime = old.expires_at - old.created_at if old.expires_at else None
        row = old._replace(
            id=new.id,
            sha256=new.sha256,
            created_by=f"{actor['kind']} {actor['id']}",
            created_at=now,
            expires_at=now + lifetime if lifetime else None,
            last_used_hour=None,
        )
        await store.insert(connection, row)
        ends = min(now + overlap, old.expires_at) if old.expires_at else now + overlap
        await store.replace(connection, id_, new.id, ends)
        issued.append(Issued(row, new.text))

    await audit.append_act(
        database_url, actor, "key.rotated", f"key {id_}", f"replaced by {new.id}", request_id=request_id, change=change
    )
    return issued[0]


async def revoke(
    database_url: str, id_: str, reason: str | None, actor: Mapping[str, str], request_id: str | None = None
) -> None:
    """End a key now. Raises NoSuchKey when there is none, or it was revoked before."""

    async def change(connection: AsyncConnection) -> None:
        if not await store.revoke(connection, id_):
            raise NoSuchKey(id_)

    await audit.append_act(
        database_url, actor, "key.revoked", f"key {id_}", reason, request_id=request_id, change=change
    )
