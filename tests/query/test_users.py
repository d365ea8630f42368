"""GET /users and /users/{id}."""

import httpx
import pytest

from contract.resources import UserView
from tests.query.answers import ids, problem, version_in
from tests.query.rows import START, Rows

pytestmark = pytest.mark.anyio


async def test_a_user_is_shown_with_all_its_members_in_the_order_of_the_contract(
    api: httpx.AsyncClient, rows: Rows
) -> None:
    user = rows.user(name='Ada "Countess" Løvelace\n\\', email="Ada@Example.org", external_id="crm-1", version=3)
    rows.reach(42)
    answer = await api.get(f"/users/{user}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert version_in(answer) == 3
    assert answer.headers["sync-token"] == "42"
    assert list(answer.json()) == list(UserView.model_fields)
    assert answer.json() == {
        "id": user,
        "external_id": "crm-1",
        "name": 'Ada "Countess" Løvelace\n\\',
        "email": "Ada@Example.org",
        "version": 3,
        "created_at": "2026-11-22T13:51:01.000000Z",
        "updated_at": "2026-11-22T13:51:01.000000Z",
    }


async def test_a_deleted_user_is_gone_and_in_no_list(api: httpx.AsyncClient, rows: Rows) -> None:
    deleted = rows.user(deleted_at=START, email="ada@example.org", external_id="crm-1")
    successor = rows.user(email="ADA@example.org", external_id="crm-1")
    assert problem(await api.get(f"/users/{deleted}")) == (410, "gone")
    assert ids(await api.get("/users")) == [successor]
    assert ids(await api.get("/users?email=ada@example.org")) == [successor]
    assert ids(await api.get("/users?external_id=crm-1")) == [successor]


async def test_users_are_listed_newest_first_unless_asked_otherwise(api: httpx.AsyncClient, rows: Rows) -> None:
    first, second, third = (rows.user() for _ in range(3))
    assert ids(await api.get("/users")) == [third, second, first]
    assert ids(await api.get("/users?sort=-created_at")) == [third, second, first]
    assert ids(await api.get("/users?sort=created_at")) == [first, second, third]


@pytest.mark.parametrize("address", ["ada@example.org", "ADA@EXAMPLE.ORG", "Ada@Example.Org"])
async def test_an_address_is_found_without_regard_to_case(api: httpx.AsyncClient, rows: Rows, address: str) -> None:
    ada = rows.user(email="Ada@Example.org")
    rows.user(email="bob@example.org")
    assert ids(await api.get("/users", params={"email": address})) == [ada]


async def test_case_does_not_count_beyond_ascii_either(api: httpx.AsyncClient, rows: Rows) -> None:
    user = rows.user(email="Jürgen@müller.example")
    assert ids(await api.get("/users", params={"email": "jÜrgen@MÜLLER.example"})) == [user]


async def test_an_external_id_is_found_with_regard_to_case(api: httpx.AsyncClient, rows: Rows) -> None:
    user = rows.user(external_id="crm-1")
    assert ids(await api.get("/users?external_id=crm-1")) == [user]
    assert ids(await api.get("/users?external_id=CRM-1")) == []


async def test_an_empty_list_has_a_token_and_no_next_page(api: httpx.AsyncClient, rows: Rows) -> None:
    rows.reach(7)
    answer = await api.get("/users")
    assert answer.json() == {"data": [], "next": None}
    assert answer.headers["sync-token"] == "7"
    assert "link" not in answer.headers
