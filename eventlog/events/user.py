"""Events of a user. Stream `user-<id>`."""

from typing import ClassVar

from eventlog.events.record import Happened


class UserRegistered(Happened, frozen=True):
    """`email_key` is the form in which the address is compared and must be unique."""

    name: str
    email: str
    email_key: str
    external_id: str | None

    PERSONAL: ClassVar = ("name", "email", "email_key", "external_id")

    def in_words(self) -> str:
        return f"Registered: {self.name}, {self.email}"


class UserChanged(Happened, frozen=True):
    """Only what changed is set; `email_key` together with `email`."""

    name: str | None = None
    email: str | None = None
    email_key: str | None = None

    PERSONAL: ClassVar = ("name", "email", "email_key")

    def in_words(self) -> str:
        said = [f"name is now {self.name}"] if self.name is not None else []
        said += [f"e-mail address is now {self.email}"] if self.email is not None else []
        return f"Changed: {', '.join(said)}"


class UserDeleted(Happened, frozen=True):
    def in_words(self) -> str:
        return "Deleted"
