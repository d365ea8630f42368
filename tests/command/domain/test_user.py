"""The rules of users, in the language of the shop."""

from command.domain import user
from command.domain.refusals import Deleted
from eventlog.events import UserChanged, UserDeleted, UserRegistered
from tests.command.domain.given import AT, LATER, Decision, Shop, a_deleted_user, a_user, given

ADA = "user-ada"


def register(name: str, email: str, external_id: str | None = None) -> Decision:
    return lambda _: [(ADA, event) for event in user.register(name, email, email.lower(), external_id)]


def change(name: str, email: str) -> Decision:
    return lambda shop: [(ADA, event) for event in user.change(shop.users["ada"], name, email, email.lower())]


def delete(shop: Shop) -> list[tuple[str, UserDeleted]]:
    return [(ADA, event) for event in user.delete(shop.users["ada"])]  # type: ignore[misc]


def test_a_registration_records_the_given_fields() -> None:
    shop = (
        given()
        .when(register("Ada", "Ada@Example.org", "A-1"))
        .then((ADA, UserRegistered("Ada", "Ada@Example.org", "ada@example.org", "A-1")))
    )
    assert shop.users["ada"] == user.User("ada", "A-1", "Ada", "Ada@Example.org", "ada@example.org", LATER, LATER)


def test_an_event_has_only_the_changed_fields() -> None:
    given(a_user()).when(change("Ada L.", "ada@example.org")).then((ADA, UserChanged(name="Ada L.")))
    given(a_user()).when(change("Ada", "ada@lovelace.org")).then(
        (ADA, UserChanged(email="ada@lovelace.org", email_key="ada@lovelace.org"))
    )
    given(a_user()).when(change("Ada L.", "a@b.c")).then((ADA, UserChanged("Ada L.", "a@b.c", "a@b.c")))


def test_a_change_keeps_fields_that_it_does_not_name() -> None:
    shop = (
        given(a_user())
        .when(change("Ada", "new@example.org"))
        .then((ADA, UserChanged(email="new@example.org", email_key="new@example.org")))
    )
    assert shop.users["ada"] == user.User("ada", None, "Ada", "new@example.org", "new@example.org", AT, LATER)


def test_nothing_happens_when_all_is_equal() -> None:
    given(a_user()).when(change("Ada", "ada@example.org")).then_nothing()


def test_another_case_of_an_address_is_a_change_to_the_same_claim() -> None:
    given(a_user()).when(change("Ada", "ADA@example.org")).then(
        (ADA, UserChanged(email="ADA@example.org", email_key="ada@example.org"))
    )


def test_a_deleted_user_is_changed_no_more() -> None:
    given(a_deleted_user()).when(change("Ada", "x@example.org")).then_refused(Deleted(ADA))


def test_a_user_is_deleted_once() -> None:
    shop = given(a_user()).when(delete).then((ADA, UserDeleted()))  # type: ignore[arg-type]
    assert shop.users["ada"].deleted
    given(a_deleted_user()).when(delete).then_nothing()  # type: ignore[arg-type]


def test_claims_of_different_kinds_never_meet() -> None:
    assert len({user.email_claim("a"), user.external_id_claim("a"), user.stream("a")}) == 3
