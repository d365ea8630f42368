"""One resource: versions, conditions, HEAD, ids."""

import httpx
import pytest

from tests.query.answers import problem, version_in
from tests.query.rows import START, Rows

pytestmark = pytest.mark.anyio
NOBODY = "0197c1c2-7d8e-7000-8000-ffffffffffff"


@pytest.mark.parametrize("tags", ["{}", "W/{}", '"1", {}', "*", " {} "])
async def test_a_client_with_the_current_representation_gets_304(api: httpx.AsyncClient, rows: Rows, tags: str) -> None:
    user = rows.user(version=3)
    rows.reach(5)
    tag = (await api.get(f"/users/{user}")).headers["etag"]
    answer = await api.get(f"/users/{user}", headers={"If-None-Match": tags.format(tag)})
    assert answer.status_code == 304
    assert answer.content == b""
    assert (answer.headers["etag"], version_in(answer)) == (tag, 3)
    assert answer.headers["sync-token"] == "5"


async def test_tags_may_come_in_several_lines(api: httpx.AsyncClient, rows: Rows) -> None:
    user = rows.user(version=3)
    tag = (await api.get(f"/users/{user}")).headers["etag"]
    lines = [("If-None-Match", '"1"'), ("If-None-Match", tag)]
    assert (await api.get(f"/users/{user}", headers=lines)).status_code == 304


@pytest.mark.parametrize("tags", ['"2"', '"3"', '"33"', "3", '"x"', "", '"{}x"', '"{}', '"{}-gzip"'])
async def test_a_client_with_another_representation_gets_the_resource(
    api: httpx.AsyncClient, rows: Rows, tags: str
) -> None:
    order = rows.order(version=3)
    tag = (await api.get(f"/orders/{order}")).headers["etag"].strip('"')
    answer = await api.get(f"/orders/{order}", headers={"If-None-Match": tags.format(tag)})
    assert answer.status_code == 200
    assert answer.json()["version"] == 3


@pytest.mark.parametrize("kind", ["users", "products", "orders"])
async def test_a_missing_resource_is_not_found_as_of_a_position(api: httpx.AsyncClient, rows: Rows, kind: str) -> None:
    rows.reach(17)
    answer = await api.get(f"/{kind}/{NOBODY}")
    assert problem(answer) == (404, "not-found")
    assert answer.headers["sync-token"] == "17"


@pytest.mark.parametrize("kind", ["users", "products", "orders"])
@pytest.mark.parametrize(
    "text",
    [
        "1",
        "x" * 36,
        NOBODY + "0",
        NOBODY.replace("-", ""),
        f"%7B{NOBODY}%7D",
        f"{NOBODY}%00",
        f"{NOBODY},{NOBODY}",
        "%D9%A1" * 36,
        "null",
        "%22",
    ],
)
async def test_an_id_that_is_not_a_uuid_is_not_found(api: httpx.AsyncClient, kind: str, text: str) -> None:
    assert problem(await api.get(f"/{kind}/{text}")) == (404, "not-found")


async def test_ids_are_taken_in_upper_case(api: httpx.AsyncClient, rows: Rows) -> None:
    user = rows.user()
    answer = await api.get(f"/users/{user.upper()}")
    assert answer.json()["id"] == user


async def test_a_deleted_user_is_gone_whatever_version_one_has(api: httpx.AsyncClient, rows: Rows) -> None:
    user = rows.user(deleted_at=START, version=2)
    rows.reach(3)
    answer = await api.get(f"/users/{user}", headers={"If-None-Match": "*"})
    assert problem(answer) == (410, "gone")
    assert answer.headers["sync-token"] == "3"


async def test_head_answers_as_get_does_without_the_body(api: httpx.AsyncClient, rows: Rows) -> None:
    order = rows.order()
    rows.order()
    user = (await api.get(f"/orders/{order}")).json()["user_id"]
    for url in (
        f"/orders/{order}",
        f"/users/{user}",
        f"/products/{(await api.get('/products')).json()['data'][0]['id']}",
        "/orders?limit=1",
        "/users",
        "/products?sort=-price",
        f"/users/{user}/orders",
    ):
        shown, head = await api.get(url), await api.head(url)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers == shown.headers
        assert int(head.headers["content-length"]) == len(shown.content)
    assert (await api.head(f"/orders/{NOBODY}")).status_code == 404
    assert (await api.head("/orders?x=1")).status_code == 400
    tag = (await api.head(f"/orders/{order}")).headers["etag"]
    assert (await api.head(f"/orders/{order}", headers={"If-None-Match": tag})).status_code == 304


async def test_times_are_in_utc_whatever_the_sessions_zone(api: httpx.AsyncClient, rows: Rows) -> None:
    rows.execute("ALTER ROLE CURRENT_USER IN DATABASE {database} SET timezone = 'Asia/Kolkata'")
    rows.execute("ALTER ROLE CURRENT_USER IN DATABASE {database} SET datestyle = 'German'")
    rows.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orders reads'")
    user = rows.user(created_at=START.replace(microsecond=123000))
    assert (await api.get(f"/users/{user}")).json()["created_at"] == "2026-11-22T13:51:00.123000Z"
    rows.user()
    pages = [await api.get("/users?limit=1")]
    pages.append(await api.get(pages[0].links["next"]["url"]))
    assert [len(page.json()["data"]) for page in pages] == [1, 1]
    assert pages[1].json()["next"] is None
