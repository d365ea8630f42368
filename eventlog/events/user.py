"""What can happen to a user. Stream `user-<id>`."""

from typing import ClassVar

from eventlog.events.record import Record


class UserRegistered(Record, frozen=True):
    """`email_key` is the form in which the address is compared and must be unique."""

    name: str
    email: str
    email_key: str
    external_id: str | None

    PERSONAL: ClassVar = ("name", "email", "email_key", "external_id")


class UserChanged(Record, frozen=True):
    """Only what changed is set; `email_key` together with `email`."""

    name: str | None = None
    email: str | None = None
    email_key: str | None = None

    PERSONAL: ClassVar = ("name", "email", "email_key")


class UserDeleted(Record, frozen=True):
    pass
