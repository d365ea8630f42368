from eventlog.events import UserChanged, UserDeleted, UserRegistered
from readmodel.shop import User
from tests.projector.projections.folding import ID, Changed, at, changes, fold

STREAM = f"user-{ID}"
ADA = UserRegistered("Ada", "ada@example.org", "ada@example.org", "A1")


def test_a_registered_user_is_a_row() -> None:
    row = {
        "id": ID,
        "external_id": "A1",
        "name": "Ada",
        "email": "ada@example.org",
        "email_key": "ada@example.org",
        "version": 1,
        "created_at": at(1),
        "updated_at": at(1),
        "deleted_at": None,
    }
    assert changes(fold(STREAM, ADA), User) == Changed({ID: row}, {})


def test_an_update_sets_only_the_changed_columns_of_a_user() -> None:
    rows = fold(STREAM, UserChanged(name="Ada L."), after=1)
    assert changes(rows, User) == Changed({}, {ID: {"version": 2, "updated_at": at(2), "name": "Ada L."}})

    address = {"email": "al@example.org", "email_key": "al@example.org"}
    rows = fold(STREAM, UserChanged(email="al@example.org", email_key="al@example.org"), after=1)
    assert changes(rows, User) == Changed({}, {ID: {"version": 2, "updated_at": at(2)} | address})


def test_a_deleted_users_row_stays_because_orders_refer_to_it() -> None:
    rows = fold(STREAM, UserDeleted(), after=4)
    assert changes(rows, User) == Changed({}, {ID: {"version": 5, "updated_at": at(5), "deleted_at": at(5)}})


def test_a_user_who_comes_and_goes_within_a_batch_is_written_once() -> None:
    changed = changes(fold(STREAM, ADA, UserChanged(name="Ada L."), UserDeleted()), User)
    assert changed.set == {}
    assert changed.inserted[ID] | {"name": "Ada L.", "version": 3, "deleted_at": at(3)} == changed.inserted[ID]
    assert changed.inserted[ID]["created_at"] == at(1)
