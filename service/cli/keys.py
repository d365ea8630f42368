"""`orders keys` and `orders whoami`: the keys with which callers of the API show who they are."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from access import issuing, links, store
from access import keys as texts
from service import first_key
from service.cli import connect, output
from service.cli.acting import Reason, actor
from service.cli.times import span
from service.errors import MISUSE, NOT_TRUE, OperatorError
from service.settings import Settings, secret_in

API_KEY_VARIABLE = "ORDERS_API_KEY"

Result = TypeVar("Result")
KeyId = Annotated[str, typer.Argument(help="The key's id, as `orders keys list` shows it")]

app = typer.Typer(name="keys", no_args_is_help=True, add_completion=False)


@app.callback(epilog="Example: orders keys create --name shop --role staff --expires 90d")
def keys() -> None:
    """Make, list, rotate and revoke the API keys with which callers show who they are."""


@app.command(epilog="Example: orders keys create --name shop --role staff --expires 90d")
def create(
    name: Annotated[str, typer.Option(help="What the key is for")],
    role: Annotated[str, typer.Option(help="customer, staff, operator or integration")],
    scope: Annotated[list[str] | None, typer.Option(help="Only this scope of the role; may be repeated")] = None,
    user: Annotated[UUID | None, typer.Option(help="The id of the user that a customer is")] = None,
    expires: Annotated[
        timedelta | None, typer.Option(parser=span, metavar="SPAN", help="When it ends: 90d, 12h")
    ] = None,
    data_dir: connect.DataDir = None,
) -> None:
    """Make an API key, and print it: the only time that it is shown."""
    try:
        wanted = issuing.Wanted(name, role, tuple(scope or ()), str(user) if user else None, expires)
    except ValueError as error:
        raise OperatorError(str(error), exit_code=MISUSE) from None
    issued = _done(issuing.create(connect.database_url(data_dir), wanted, actor()))
    _show(issued)


@app.command("list", epilog="Example: orders keys list --json")
def list_(
    limit: Annotated[int, typer.Option(help="How many of the newest keys", min=1, max=10_000)] = 1_000,
    as_json: output.AsJson = False,
    data_dir: connect.DataDir = None,
) -> None:
    """List the API keys: never the keys themselves, which are not kept."""
    with connect.asking(connect.database_url(data_dir), "orders keys") as connection:
        found = store.latest(connection, limit + 1)
    if len(found) > limit:
        print("there are older keys: --limit shows more, GET /keys shows all", file=sys.stderr)
        found = found[1:]
    if as_json:
        output.json({"data": [it.shown() for it in found]})
        return
    rows = [
        [it.id, it.name, it.role, it.user_id or "", f"{it.created_at:%Y-%m-%d}", it.created_by, _used(it), _state(it)]
        for it in found
    ]
    output.table("id", "name", "role", "user", "created", "made by", "last used (UTC)", "state", rows=rows)


@app.command(epilog="Example: orders keys rotate Ab12Cd34 --overlap 24h")
def rotate(
    id_: KeyId,
    overlap: Annotated[
        timedelta | None,
        typer.Option(parser=span, metavar="SPAN", help="For so long the old key stays valid: 12h, 0h [24h]"),
    ] = None,
    data_dir: connect.DataDir = None,
) -> None:
    """Make a key in place of another, and print it. Account, role and scopes stay."""
    # Not the option's default: it would pass through `span`, which reads texts.
    overlap = issuing.OVERLAP_DEFAULT if overlap is None else overlap
    if overlap > issuing.OVERLAP_MAX:
        raise OperatorError(f"--overlap is too long: use {issuing.OVERLAP_MAX.days}d at most", exit_code=MISUSE)
    issued = _done(issuing.rotate(connect.database_url(data_dir), id_, overlap, actor()))
    _show(issued)


@app.command(epilog='Example: orders keys revoke Ab12Cd34 --reason "it was published"')
def revoke(id_: KeyId, reason: Reason = None, data_dir: connect.DataDir = None) -> None:
    """End a key: every API process refuses it within two seconds."""
    url = connect.database_url(data_dir)
    _done(issuing.revoke(url, id_, reason, actor()))
    print(f"revoked {id_}")
    with connect.asking(url, "orders keys") as connection:
        made = [it.id for it in store.made_by(connection, f"key {id_}") if it.is_valid(datetime.now(UTC))]
    if made:
        print(f"it has made keys that are still valid; if it was stolen, revoke them too: {', '.join(made)}")


@app.command(epilog="Example: orders keys link")
def link(data_dir: connect.DataDir = None) -> None:
    """Print a link that signs a browser in to the console of `orders up` as an operator, once."""
    address = connect.api_url(data_dir)
    token = first_key.link(connect.database_url(data_dir))
    minutes, hours = int(links.VALID_FOR.total_seconds() // 60), int(links.VISIT.total_seconds() // 3600)
    told = f"Open this link in a browser within {minutes} minutes. It works once, and signs you in for {hours} hours:"
    print(told, file=sys.stderr)
    print(f"{address}/console/sign-in?token={token}")


def whoami(as_json: output.AsJson = False, data_dir: connect.DataDir = None) -> None:
    """Say whose key this is: that of ORDERS_API_KEY or ORDERS_API_KEY_FILE, or of the file that `orders up` made."""
    digest = texts.digest(_own_key(data_dir))
    with connect.asking(connect.database_url(data_dir), "orders keys") as connection:
        found = store.of_digest(connection, digest)
    if found is None:
        raise OperatorError("the database does not know this key: `orders keys create` makes another")
    if as_json:
        output.json(found.shown())
        return
    print(f"{found.id} ({found.name}), role {found.role}, {_state(found)}: {', '.join(sorted(found.scopes))}")
    if not found.is_valid(datetime.now(UTC)):
        raise typer.Exit(NOT_TRUE)


def _show(issued: issuing.Issued) -> None:
    id_ = issued.row.id
    output.secret(
        issued.text, f"the key {id_} was made and could not be printed: `orders keys revoke {id_}`, and make another"
    )


def _own_key(data_dir: Path | None) -> str:
    if text := os.environ.get(API_KEY_VARIABLE):
        return text.strip()
    of_up = Settings.load(data_dir=data_dir).data_dir / first_key.FILE_NAME
    path = Path(os.environ.get(f"{API_KEY_VARIABLE}_FILE") or of_up)
    try:
        return secret_in(path)
    except OperatorError as error:
        raise OperatorError(f"{error}; set {API_KEY_VARIABLE}") from None


def _done(change: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(change)
    except issuing.NoSuchKey as error:
        raise OperatorError(f"there is no valid key with the id {error}: `orders keys list` shows the ids") from None
    except issuing.NoSuchUser as error:
        raise OperatorError(f"there is no user with the id {error}: register the user first") from None
    except TimeoutError:
        raise OperatorError("the database did not answer in time: look with `orders keys list`") from None


def _used(key: store.StoredKey) -> str:
    """The hour of the last use: the API writes down no more."""
    return f"{key.last_used_hour.astimezone(UTC):%Y-%m-%d %H}h" if key.last_used_hour else "never"


def _state(key: store.StoredKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "valid"
    word = "until" if key.expires_at > datetime.now(UTC) else "expired"
    return f"{word} {key.expires_at:%Y-%m-%d}"
