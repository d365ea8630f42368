"""Users, as rows."""

from eventlog.events import UserChanged, UserDeleted, UserRegistered
from projector.projections.envelope import Envelope
from projector.rows import Rows


def registered(event: UserRegistered, of: Envelope, rows: Rows) -> None:
    rows.users.insert(
        of.id,
        {
            "id": of.id,
            "external_id": event.external_id,
            "name": event.name,
            "email": event.email,
            "version": of.version,
            "created_at": of.at,
            "updated_at": of.at,
            "deleted_at": None,
        },
    )


def changed(event: UserChanged, of: Envelope, rows: Rows) -> None:
    columns = {"version": of.version, "updated_at": of.at}
    if event.name is not None:
        columns["name"] = event.name
    if event.email is not None:
        columns["email"] = event.email
    rows.users.set(of.id, columns)


def deleted(event: UserDeleted, of: Envelope, rows: Rows) -> None:
    """The row stays: orders refer to it."""
    rows.users.set(of.id, {"version": of.version, "updated_at": of.at, "deleted_at": of.at})
