"""What POST, PUT and DELETE /users answer, and what they leave in the log."""

import re
from uuid import uuid4

import pytest

from tests.served import Shop, problem

UNKNOWN = "/users/01890a5d-ac96-774b-bcce-b302099a8057"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def address() -> str:
    return f"{uuid4().hex}@example.org"


def test_a_user_is_registered(shop: Shop) -> None:
    email = address()
    answer = shop.post("/users", json={"name": "Ada", "email": email, "external_id": email[:8]})
    assert answer.status_code == 201
    user = answer.json()
    at = user["created_at"]
    assert TIME.fullmatch(at)
    expected = {
        "name": "Ada",
        "email": email,
        "external_id": email[:8],
        "version": 1,
        "created_at": at,
        "updated_at": at,
    }
    assert user == {"id": user["id"], **expected}
    assert answer.headers["location"] == f"/users/{user['id']}"
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["sync-token"] == str(shop.head())
    assert answer.headers["content-type"] == "application/json"
    assert "idempotency-replayed" not in answer.headers
    registered = {"name": "Ada", "email": email, "email_key": email.lower(), "external_id": email[:8]}
    assert shop.events(answer.headers["location"]) == [("UserRegistered", registered)]


def test_the_request_and_its_command_can_be_found_in_the_log(shop: Shop) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"X-Request-Id": "shop-17", "traceparent": trace}
    answer = shop.post("/users", json={"name": "Ada", "email": address()}, headers=headers)
    ((metadata,),) = shop.rows("SELECT metadata FROM log.events WHERE position = %s", answer.headers["sync-token"])
    command_id = answer.headers["command-id"]
    assert answer.headers["x-request-id"] == "shop-17"
    assert metadata == {
        "actor": {"kind": "anyone", "id": "anyone"},
        "command_id": command_id,
        "request_id": "shop-17",
        "traceparent": trace,
    }


def test_an_e_mail_address_is_unique_without_regard_to_case_and_kept_as_sent(shop: Shop) -> None:
    email = address().capitalize()
    assert shop.user(email=email)["email"] == email
    before = shop.head()
    answer = shop.post("/users", json={"name": "Bob", "email": email.upper()})
    assert problem(answer) == (409, "email-taken")
    assert "location" not in answer.headers
    assert shop.head() == before


def test_an_external_id_is_unique_with_regard_to_case(shop: Shop) -> None:
    key = f"a{uuid4().hex}"
    ada = shop.user(external_id=key)
    answer = shop.post("/users", json={"name": "Bob", "email": address(), "external_id": key})
    assert problem(answer) == (409, "duplicate-external-id")
    assert answer.headers["location"] == f"/users/{ada['id']}"
    shop.user(external_id=key.capitalize())


def test_users_and_orders_have_external_ids_of_their_own(shop: Shop) -> None:
    key = uuid4().hex
    shop.user(external_id=key)
    shop.order(external_id=key)


def test_a_change_records_only_the_changed_fields(shop: Shop) -> None:
    user = shop.user()
    path = f"/users/{user['id']}"
    answer = shop.put(path, json={"name": "Ada Lovelace", "email": user["email"]})
    assert answer.status_code == 200
    changed = answer.json()
    assert changed["updated_at"] > user["updated_at"]
    assert changed == user | {"name": "Ada Lovelace", "version": 2, "updated_at": changed["updated_at"]}
    assert answer.headers["etag"] == '"2"'
    assert answer.headers["sync-token"] == str(shop.head())
    assert "location" not in answer.headers
    shop.put(path, json={"name": "Ada Lovelace", "email": user["email"].upper()})
    assert shop.events(path)[1:] == [
        ("UserChanged", {"name": "Ada Lovelace", "email": None, "email_key": None}),
        ("UserChanged", {"name": None, "email": user["email"].upper(), "email_key": user["email"]}),
    ]


def test_nothing_is_appended_when_all_is_equal(shop: Shop) -> None:
    user = shop.user()
    before = shop.head()
    answer = shop.put(f"/users/{user['id']}", json={"name": user["name"], "email": user["email"]})
    assert (answer.status_code, answer.json()) == (200, user)
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["sync-token"] == str(before) == str(shop.head())


def test_an_address_in_use_is_not_taken_over(shop: Shop) -> None:
    ada, bob = shop.user(), shop.user()
    answer = shop.put(f"/users/{bob['id']}", json={"name": "Bob", "email": ada["email"].upper()})
    assert problem(answer) == (409, "email-taken")


def test_an_address_that_is_given_up_is_free_again(shop: Shop) -> None:
    ada = shop.user()
    shop.put(f"/users/{ada['id']}", json={"name": "Ada", "email": address()})
    shop.user(email=ada["email"].upper())
    back = shop.put(f"/users/{ada['id']}", json={"name": "Ada", "email": ada["email"]})
    assert problem(back) == (409, "email-taken")


def test_a_deleted_user_is_deleted_again_without_a_word(shop: Shop) -> None:
    user = shop.user()
    path = f"/users/{user['id']}"
    for _ in range(2):
        answer = shop.delete(path, headers={"If-Match": '"1"'})
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["sync-token"] == str(shop.head())
        assert not {"etag", "content-type", "location"} & answer.headers.keys()
    assert shop.events(path)[1:] == [("UserDeleted", {})]


def test_the_claims_of_a_deleted_user_are_free_again(shop: Shop) -> None:
    user = shop.user(external_id=uuid4().hex)
    shop.delete(f"/users/{user['id']}")
    again = shop.user(email=user["email"].upper(), external_id=user["external_id"])
    assert again["id"] != user["id"]
    assert problem(shop.post("/users", json={"name": "Eve", "email": user["email"]})) == (409, "email-taken")


def test_a_deleted_user_is_gone(shop: Shop) -> None:
    user = shop.user()
    shop.delete(f"/users/{user['id']}")
    answer = shop.put(f"/users/{user['id']}", json={"name": "Ada", "email": address()})
    assert problem(answer) == (410, "gone")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("path", [UNKNOWN, "/users/17", "/users/01890a5d-ac96-774b-bcce-b302099a805g", "/users/%00"])
def test_a_missing_user_is_not_found(shop: Shop, method: str, path: str) -> None:
    body = {"name": "Ada", "email": address()} if method == "PUT" else None
    assert problem(shop.http.request(method, path, json=body)) == (404, "not-found")


def test_an_id_is_taken_in_capitals_too(shop: Shop) -> None:
    user = shop.user()
    answer = shop.put(f"/users/{user['id'].upper()}", json={"name": user["name"], "email": user["email"]})
    assert answer.json() == user


@pytest.mark.parametrize("stale", ['"7"', '"0"', '"99999999999999999999"', '"v1"', '""'])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_stale_version_is_refused(shop: Shop, method: str, stale: str) -> None:
    user = shop.user()
    before = shop.head()
    body = {"name": "Ada", "email": address()} if method == "PUT" else None
    answer = shop.http.request(method, f"/users/{user['id']}", json=body, headers={"If-Match": stale})
    assert problem(answer) == (412, "version-mismatch")
    assert shop.head() == before


def test_a_refusal_of_a_stale_version_names_the_current_one(shop: Shop) -> None:
    user = shop.user()
    body = {"name": "Ada", "email": user["email"]}
    assert shop.put(f"/users/{user['id']}", json=body, headers={"If-Match": '"1"'}).status_code == 200
    answer = shop.put(f"/users/{user['id']}", json=body | {"name": "Eve"}, headers={"If-Match": '"1"'})
    assert problem(answer) == (412, "version-mismatch")
    assert answer.headers["etag"] == '"2"'
    assert shop.put(f"/users/{user['id']}", json=body, headers={"If-Match": "*"}).status_code == 200


def test_methods_that_users_do_not_take(shop: Shop) -> None:
    for path, methods in {"/users": "GET, HEAD, POST", UNKNOWN: "DELETE, GET, HEAD, PUT"}.items():
        answer = shop.http.request("PATCH", path)
        assert problem(answer) == (405, "method-not-allowed")
        assert answer.headers["allow"] == methods
