"""What can happen to a user. Stream `user-<id>`."""

from typing import ClassVar

from eventlog.events.record import record


@record
class UserRegistered:
    name: str
    email: str
    external_id: str | None

    PERSONAL: ClassVar = ("name", "email", "external_id")


@record
class UserChanged:
    """Only what changed is set."""

    name: str | None = None
    email: str | None = None

    PERSONAL: ClassVar = ("name", "email")


@record
class UserDeleted:
    pass
