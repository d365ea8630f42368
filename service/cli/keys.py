"""`orders keys` and `orders whoami`: the keys with which callers of the API show who they are."""

import asyncio
import os
import re
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from service.cli import connect
from service.cli.acting import actor
from service.cli.run import DataDir
from service.cli.status import AsJson
from service.errors import OperatorError

if TYPE_CHECKING:
    from access.store import StoredKey

_SPAN = re.compile(r"(0|[1-9][0-9]{0,4})([hd])")
API_KEY_VARIABLE = "ORDERS_API_KEY"

Result = TypeVar("Result")
KeyId = Annotated[str, typer.Argument(help="The key's id, as `orders keys list` shows it")]


def keys() -> None:
    """Make, list, rotate and revoke the API keys with which callers show who they are."""


def create(
    name: Annotated[str, typer.Option(help="What the key is for")],
    role: Annotated[str, typer.Option(help="customer, staff, operator or integration")],
    scope: Annotated[list[str] | None, typer.Option(help="Only this scope of the role; may be repeated")] = None,
    user: Annotated[str | None, typer.Option(help="The id of the user that a customer is")] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends: 90d, 12h")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make an API key, and print it: the only time that it is shown."""
    from access import issuing

    try:
        wanted = issuing.Wanted(name, role, tuple(scope or ()), _user(user), _span(expires))
    except ValueError as error:
        raise OperatorError(str(error), exit_code=2) from None
    issued = _done(issuing.create(connect.database_url(data_dir), wanted, actor()))
    print(issued.text)


def list_(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the API keys: never the keys themselves, which are not kept."""
    from service.cli import output

    found = _listed(data_dir)
    if as_json:
        output.json({"data": [it.shown() for it in found]})
        return
    rows = [[it.id, it.name, it.role, it.user_id or "", f"{it.created_at:%Y-%m-%d}", _state(it)] for it in found]
    output.table("id", "name", "role", "user", "created", "state", rows=rows)


def rotate(
    id_: KeyId,
    overlap: Annotated[str, typer.Option(help="For so long the old key stays valid: 24h, 0h")] = "24h",
    data_dir: DataDir = None,
) -> None:
    """Make a key in place of another, and print it. Account, role and scopes stay."""
    from access import issuing

    span = _span(overlap) or timedelta()
    if span > issuing.OVERLAP_MAX:
        raise OperatorError(f"an overlap lasts {issuing.OVERLAP_MAX.days}d at most", exit_code=2)
    issued = _done(issuing.rotate(connect.database_url(data_dir), id_, span, actor()))
    print(issued.text)


def revoke(
    id_: KeyId,
    reason: Annotated[str | None, typer.Option(help="Why, for the audit")] = None,
    data_dir: DataDir = None,
) -> None:
    """End a key: every API process refuses it within two seconds."""
    from access import issuing

    _done(issuing.revoke(connect.database_url(data_dir), id_, reason, actor()))
    print(f"revoked {id_}")


def link(data_dir: DataDir = None) -> None:
    """Print a link that signs a browser in to the console of `orders up`, once."""
    from service.first_key import link as new_link

    print(f"{connect.api_url(data_dir)}/console/sign-in?token={new_link(connect.database_url(data_dir))}")


def whoami(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Say whose key this is: that of ORDERS_API_KEY or ORDERS_API_KEY_FILE, or of the file that `orders up` made."""
    from access import keys as texts
    from service.cli import output

    digest = texts.digest(_own_key(data_dir))
    found = next((it for it in _listed(data_dir) if it.sha256 == digest), None)
    if found is None:
        raise OperatorError("the database does not know this key")
    if as_json:
        output.json(found.shown())
        return
    print(f"{found.id} ({found.name}), role {found.role}, {_state(found)}: {', '.join(sorted(found.scopes))}")
    if not found.is_valid(datetime.now(UTC)):
        raise typer.Exit(1)


def _own_key(data_dir: Path | None) -> str:
    from service.first_key import FILE_NAME
    from service.settings import Settings

    if text := os.environ.get(API_KEY_VARIABLE):
        return text.strip()
    path = Path(os.environ.get(f"{API_KEY_VARIABLE}_FILE") or Settings.load(data_dir=data_dir).data_dir / FILE_NAME)
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise OperatorError(f"cannot read {path}: {reason}; set {API_KEY_VARIABLE}") from None


def _listed(data_dir: Path | None) -> "list[StoredKey]":
    from access import store

    with connect.asking(connect.database_url(data_dir), "orders keys") as connection:
        return store.listed(connection)


def _done(change: Coroutine[Any, Any, Result]) -> Result:
    from access.issuing import NoSuchKey, NoSuchUser

    try:
        return asyncio.run(change)
    except NoSuchKey as error:
        raise OperatorError(f"there is no valid key with the id {error}") from None
    except NoSuchUser as error:
        raise OperatorError(f"there is no user with the id {error}: register the user first") from None
    except TimeoutError:
        raise OperatorError("the database did not answer in time: look with `orders keys list`") from None


def _state(key: "StoredKey") -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "valid"
    word = "until" if key.expires_at > datetime.now(UTC) else "expired"
    return f"{word} {key.expires_at:%Y-%m-%d}"


def _user(text: str | None) -> str | None:
    from uuid import UUID

    try:
        return str(UUID(text)) if text else None
    except ValueError:
        raise OperatorError(f"{text!r} is no user's id: ids are UUIDs", exit_code=2) from None


def _span(text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = _SPAN.fullmatch(text)
    if match is None:
        raise OperatorError(f"{text!r} is no span of time: write 90d or 12h", exit_code=2)
    number = int(match[1])
    return timedelta(hours=number) if match[2] == "h" else timedelta(days=number)
