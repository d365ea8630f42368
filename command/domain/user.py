"""The rules of users: an e-mail address belongs to one user at a time; a deleted user frees it."""

from command.domain.refusals import Deleted
from eventlog.events import UserChanged, UserDeleted, UserEvent, UserRegistered
from eventlog.events.record import Record, replace


class User(Record, frozen=True):
    id: str
    external_id: str | None
    name: str
    email: str
    email_key: str
    created_at: str
    updated_at: str
    deleted: bool = False


def stream(user_id: str) -> str:
    return f"user-{user_id}"


def email_claim(email_key: str) -> str:
    """Addresses are unique without regard to case: the claim has the form in which they are compared."""
    return f"email:{email_key}"


def external_id_claim(external_id: str) -> str:
    return f"user:{external_id}"


def claims(email_key: str, external_id: str | None) -> list[str]:
    return [email_claim(email_key), *([] if external_id is None else [external_id_claim(external_id)])]


def register(name: str, email: str, email_key: str, external_id: str | None) -> list[UserEvent]:
    return [UserRegistered(name, email, email_key, external_id)]


def change(user: User, name: str, email: str, email_key: str) -> list[UserEvent]:
    """Only what differs; nothing when all is equal."""
    if user.deleted:
        raise Deleted(stream(user.id))
    if (name, email) == (user.name, user.email):
        return []
    new_address = (email, email_key) if email != user.email else (None, None)
    return [UserChanged(name if name != user.name else None, *new_address)]


def delete(user: User) -> list[UserEvent]:
    return [] if user.deleted else [UserDeleted()]


def evolve(user_id: str, user: User | None, event: UserEvent, at: str) -> User:
    match event:
        case UserRegistered(name, email, email_key, external_id):
            return User(user_id, external_id, name, email, email_key, at, at)
        case UserChanged(new_name, new_email, new_key):
            assert user is not None
            return replace(
                user,
                name=new_name or user.name,
                email=new_email or user.email,
                email_key=new_key or user.email_key,
                updated_at=at,
            )
        case UserDeleted():
            assert user is not None
            return replace(user, deleted=True, updated_at=at)
