"""Users, as rows."""

from collections.abc import Mapping
from typing import Any

from eventlog.events import UserChanged, UserDeleted, UserRegistered
from projector.projection import Envelope, Handler
from projector.rows import Rows
from readmodel.shop import User


def registered(event: UserRegistered, of: Envelope, rows: Rows) -> None:
    rows.insert(
        User,
        {
            "id": of.id,
            "external_id": event.external_id,
            "name": event.name,
            "email": event.email,
            "email_key": event.email_key,
            "version": of.version,
            "created_at": of.at,
            "updated_at": of.at,
            "deleted_at": None,
        },
    )


def changed(event: UserChanged, of: Envelope, rows: Rows) -> None:
    columns: dict[str, object] = {"version": of.version, "updated_at": of.at}
    if event.name is not None:
        columns["name"] = event.name
    if event.email is not None:
        columns |= {"email": event.email, "email_key": event.email_key}
    rows.set(User, of.id, columns)


def deleted(event: UserDeleted, of: Envelope, rows: Rows) -> None:
    """The row stays: orders refer to it."""
    rows.set(User, of.id, {"version": of.version, "updated_at": of.at, "deleted_at": of.at})


ON: Mapping[type[Any], Handler] = {
    UserRegistered: registered,
    UserChanged: changed,
    UserDeleted: deleted,
}
