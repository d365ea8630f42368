"""Walking through lists: cursors, limits, Link headers, and what becomes of them when rows come in between."""

import base64
import json
from datetime import UTC, timedelta
from decimal import Decimal

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.problems import Problem
from query.orders import SORTS
from query.paging import Place, cursor_of, place_of, tie
from tests.query.answers import ids, problem, walk
from tests.query.rows import START, Rows

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("sort", ["placed_at", "-placed_at", "total", "-total"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_every_order_is_met_once_also_among_equals(
    api: httpx.AsyncClient, rows: Rows, sort: str, limit: int
) -> None:
    user, product = rows.user(), rows.product()
    for number in range(7):
        total, at = Decimal(number // 3), START + timedelta(microseconds=number // 2)
        rows.order(user, [product], total=total, placed_at=at)
    everything = ids(await api.get(f"/orders?sort={sort}&limit=100"))
    assert len(everything) == 7
    walked = await walk(api, f"/orders?sort={sort}&limit={limit}")
    assert [order["id"] for order in walked] == everything


async def test_the_last_page_has_no_next_even_when_it_is_full(api: httpx.AsyncClient, rows: Rows) -> None:
    for _ in range(4):
        rows.user()
    first = await api.get("/users?limit=2")
    assert first.json()["next"]
    second = await api.get("/users", params={"limit": 2, "cursor": first.json()["next"]})
    assert len(second.json()["data"]) == 2
    assert second.json()["next"] is None
    assert "link" not in second.headers


async def test_pages_have_25_unless_asked_otherwise_and_100_at_most(api: httpx.AsyncClient, rows: Rows) -> None:
    for _ in range(101):
        rows.product()
    assert len(ids(await api.get("/products"))) == 25
    assert len(ids(await api.get("/products?limit=100"))) == 100
    for limit in ("0", "101", "-1", "1.0", "1e1", "+1", "%201", "٣", "9" * 30):
        assert problem(await api.get(f"/products?limit={limit}")) == (400, "invalid-parameter"), limit


async def test_a_link_keeps_all_parameters_and_may_be_followed_as_it_is(api: httpx.AsyncClient, rows: Rows) -> None:
    products = [rows.product(sku=f"a&b=ü {number}", price=Decimal(number)) for number in range(3)]
    answer = await api.get("/products?price%5Bgte%5D=0&sort=-price&limit=1&in_stock=true")
    link = answer.links["next"]["url"]
    assert link.startswith("/products?")
    assert httpx.URL(link).params["price[gte]"] == "0"
    assert httpx.URL(link).params["cursor"] == answer.json()["next"]
    assert ids(await api.get(link)) == [products[1]]


async def test_a_link_keeps_a_parameter_that_came_twice(api: httpx.AsyncClient, rows: Rows) -> None:
    user, product = rows.user(), rows.product()
    orders = [rows.order(user, [product], placed_at=START + timedelta(minutes=number)) for number in range(3)]
    first = await api.get("/orders?status=placed&status=cancelled&limit=2")
    second = await api.get(first.links["next"]["url"])
    assert ids(first) + ids(second) == orders[::-1]


async def test_rows_that_come_and_go_between_pages_neither_repeat_nor_hide_others(
    api: httpx.AsyncClient, rows: Rows
) -> None:
    user, product = rows.user(), rows.product()
    stayed = [rows.order(user, [product], placed_at=START + timedelta(minutes=number)) for number in range(6)]
    first = await api.get("/orders?limit=3")
    newer = rows.order(user, [product], placed_at=START + timedelta(hours=1))
    older = rows.order(user, [product], placed_at=START - timedelta(hours=1))
    second = await api.get(first.links["next"]["url"])
    third = await api.get(second.links["next"]["url"])
    walked = ids(first) + ids(second) + ids(third)
    assert walked == [*reversed(stayed), older]
    assert newer not in walked


async def test_a_cursor_works_with_another_limit(api: httpx.AsyncClient, rows: Rows) -> None:
    users = [rows.user() for _ in range(4)][::-1]
    cursor = (await api.get("/users?limit=1")).json()["next"]
    assert ids(await api.get(f"/users?limit=100&cursor={cursor}")) == users[1:]


async def test_a_cursor_is_good_for_its_list_its_sort_and_its_filters_only(api: httpx.AsyncClient, rows: Rows) -> None:
    user, product = rows.user(), rows.product()
    for _ in range(3):
        rows.order(user, [product])
    cursor = (await api.get(f"/orders?limit=1&user_id={user}&total[gte]=1")).json()["next"]
    good = f"/orders?user_id={user}&total[gte]=1"
    assert len(ids(await api.get(f"{good}&cursor={cursor}"))) == 2
    assert len(ids(await api.get(f"{good}&sort=-placed_at&cursor={cursor}"))) == 2
    for other in (
        f"{good}&sort=placed_at",
        f"{good}&sort=total",
        f"{good}&status=placed",
        f"/orders?user_id={user}",
        f"/orders?user_id={user}&total[gte]=2",
        f"/orders?user_id={user}&total[gt]=1",
        f"/orders?user_id={product}&total[gte]=1",
        "/users?",
        "/products?",
    ):
        assert problem(await api.get(f"{other}&cursor={cursor}")) == (400, "invalid-cursor"), other


def forged(*content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


TIE = tie("orders", "-placed_at", {})
ID = "0197c1c2-7d8e-7000-8000-000000000001"


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!!",
        "%00",
        "%C3%BC",
        "bnVsbA",
        "e30",
        forged(),
        forged(TIE),
        forged(TIE, None, ID),
        forged(TIE, 1, ID),
        forged(TIE, "now", ID),
        forged(TIE, "2026-11-22", ID),
        forged(TIE, "2026-13-22T13:51:00Z", ID),
        forged(TIE, "0001-01-01T00:00:00+14:00", ID),
        forged(TIE, "2026-11-22T13:51:00Z", "x"),
        forged(TIE, "2026-11-22T13:51:00Z", ID, ID),
        forged("x", "2026-11-22T13:51:00Z", ID),
        "A" * 10_000,
        base64.urlsafe_b64encode(b"[" * 9_999).decode(),
    ],
)
async def test_a_cursor_that_was_not_handed_out_is_refused(api: httpx.AsyncClient, cursor: str) -> None:
    assert problem(await api.get(f"/orders?cursor={cursor}")) == (400, "invalid-cursor")


@pytest.mark.parametrize("value", ["a\x00b", "\ud800", "x" * 100])
async def test_a_forged_text_is_harmless(api: httpx.AsyncClient, rows: Rows, value: str) -> None:
    rows.product(sku="z")
    answer = await api.get(f"/products?cursor={forged(tie('products', 'sku', {}), value, ID)}")
    assert answer.status_code in {200, 400}
    assert answer.status_code == 200 or problem(answer) == (400, "invalid-cursor")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    cursor=st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda b: base64.urlsafe_b64encode(b).decode()))
)
def test_no_text_is_taken_for_a_cursor_or_breaks_anything(cursor: str) -> None:
    with pytest.raises(Problem, match="cursor"):
        place_of(cursor, SORTS["placed_at"], TIE)


@given(at=st.datetimes(timezones=st.just(UTC)), total=st.decimals(0, 10**20, places=4))
def test_a_cursor_loses_nothing_of_the_place(at: object, total: Decimal) -> None:
    for sort, value in (("placed_at", at), ("total", total)):
        place = place_of(cursor_of(Place(value, ID), TIE), SORTS[sort], TIE)  # type: ignore[arg-type]
        assert place == Place(value, ID)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/orders?sort=placed_at", "/users/{}/orders?sort=-total", "/orders?product_id={}"])
async def test_a_page_of_large_orders_ends_early_and_none_is_left_out(
    api: httpx.AsyncClient, rows: Rows, path: str
) -> None:
    """Its memory would grow with the lines of the orders otherwise: a hundred of a thousand lines are 40 MB."""
    user, product = rows.user(), rows.product()
    large, small = [product] * 1_000, [product]
    wanted = [rows.order(user, lines) for lines in [*[large] * 6, *[small] * 3, *[large] * 2, [product] * 4_500, small]]
    found = await walk(api, path.format(product if "product_id" in path else user) + "&limit=100")
    assert sorted(order["id"] for order in found) == sorted(wanted)
    lengths, link = [], path.format(product if "product_id" in path else user) + "&limit=100"
    while link:
        page = await api.get(link)
        lengths.append(sum(len(order["items"]) for order in page.json()["data"]))
        link = page.links.get("next", {}).get("url")
    assert all(0 < lines <= 4_000 or lines == 4_500 for lines in lengths), lengths
    assert len(lengths) < len(wanted)
