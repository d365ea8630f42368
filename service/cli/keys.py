"""`orders keys` and `orders whoami`: the keys with which callers of the API show who they are."""

import os
import re
from datetime import timedelta
from typing import Annotated

import typer

from service.cli import connect
from service.cli.run import DataDir
from service.cli.status import AsJson
from service.errors import OperatorError

_SPAN = re.compile(r"([1-9][0-9]{0,5})([hd])")

Role = Annotated[str, typer.Option(help="customer, staff, operator or integration")]


def keys() -> None:
    """Make, list, rotate and revoke the API keys with which callers show who they are."""


def create(
    name: Annotated[str, typer.Option(help="What the key is for")],
    role: Role,
    scope: Annotated[list[str] | None, typer.Option(help="Only this scope of the role; may be repeated")] = None,
    user: Annotated[str | None, typer.Option(help="The id of the user that a customer is")] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends: 90d, 12h")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make an API key, and print it: the only time that it is shown."""
    from access.issuing import Wanted
    from access.issuing import create as issue

    try:
        wanted = Wanted(name, role, tuple(scope or ()), _user(user), _span(expires))
    except ValueError as error:
        raise OperatorError(str(error), exit_code=2) from None
    with connect.asking(connect.database_url(data_dir), "orders keys") as connection:
        _, text = issue(connection, wanted, f"cli {os.getuid()}")
    print(text)


def list_(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the API keys: never the keys themselves, which nobody keeps."""
    from access import store
    from service.cli import output

    with connect.asking(connect.database_url(data_dir), "orders keys") as connection:
        found = store.listed(connection)
    if as_json:
        output.json({"data": [{k: v for k, v in it._asdict().items() if k != "sha256"} for it in found]})
        return
    rows = [
        [it.id, it.name, it.role, it.user_id or "", f"{it.created_at:%Y-%m-%d}", _state(it.expires_at, it.revoked_at)]
        for it in found
    ]
    output.table("id", "name", "role", "user", "created", "state", rows=rows)


def _state(expires_at: object, revoked_at: object) -> str:
    if revoked_at is not None:
        return f"revoked {revoked_at:%Y-%m-%d}"
    return f"until {expires_at:%Y-%m-%d}" if expires_at else "valid"


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
