"""The rules of users: an e-mail address belongs to one user at a time; a deleted user frees it."""

from dataclasses import replace

from command.domain.refusals import Deleted
from eventlog.events import UserChanged, UserDeleted, UserEvent, UserRegistered
from eventlog.events.record import record


@record
class User:
    id: str
    external_id: str | None
    name: str
    email: str
    created_at: str
    updated_at: str
    deleted: bool = False


def stream(user_id: str) -> str:
    return f"user-{user_id}"


def email_claim(email: str) -> str:
    """Addresses are unique without regard to case."""
    return f"email:{email.lower()}"


def external_id_claim(external_id: str) -> str:
    return f"user:{external_id}"


def register(name: str, email: str, external_id: str | None) -> list[UserEvent]:
    return [UserRegistered(name, email, external_id)]


def change(user: User, name: str, email: str) -> list[UserEvent]:
    """Only what differs; nothing when all is equal."""
    if user.deleted:
        raise Deleted(stream(user.id))
    if (name, email) == (user.name, user.email):
        return []
    return [UserChanged(name if name != user.name else None, email if email != user.email else None)]


def delete(user: User) -> list[UserEvent]:
    return [] if user.deleted else [UserDeleted()]


def evolve(user_id: str, user: User | None, event: UserEvent, at: str) -> User:
    match event:
        case UserRegistered(name, email, external_id):
            return User(user_id, external_id, name, email, at, at)
        case UserChanged(new_name, new_email):
            assert user is not None
            return replace(user, name=new_name or user.name, email=new_email or user.email, updated_at=at)
        case UserDeleted():
            assert user is not None
            return replace(user, deleted=True, updated_at=at)
