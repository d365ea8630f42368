"""What can happen to a user. Stream `user-<id>`."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class UserRegistered:
    name: str
    email: str
    external_id: str | None

    PERSONAL: ClassVar = ("name", "email", "external_id")


@dataclass(frozen=True, slots=True)
class UserChanged:
    """Only what changed is set."""

    name: str | None = None
    email: str | None = None

    PERSONAL: ClassVar = ("name", "email")


@dataclass(frozen=True, slots=True)
class UserDeleted:
    pass
