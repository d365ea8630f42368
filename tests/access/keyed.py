"""An API that demands keys, and keys for it."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from access.issuing import Wanted, create
from service.settings import Settings
from tests.served import NO_REDIS, Shop, served_with

# A session may report what it has read only when it ends: tests of those figures wait until this finds none.
OTHER_SESSIONS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def new_key(database_url: str, role: str, scopes: Sequence[str] = (), user_id: str | None = None) -> str:
    """A new key's text."""
    wanted = Wanted(f"a {role}", role, tuple(scopes), user_id)
    return asyncio.run(create(database_url, wanted, {"kind": "cli", "id": "0"})).text


def bearing(text: str) -> dict[str, str]:
    """The header that carries a key or token."""
    return {"Authorization": f"Bearer {text}"}


@contextlib.contextmanager
def guarded(database_url: str, redis_url: str = NO_REDIS, **settings: object) -> Iterator[Shop]:
    """Serve the API with keys. The client that is yielded has an operator's key."""
    given = {"database_url": database_url, "redis_url": redis_url, "allow_unsafe_database": True, **settings}
    with served_with(Settings(**given)) as shop:  # type: ignore[arg-type]
        shop.http.headers.update(bearing(new_key(database_url, "operator")))
        yield shop
