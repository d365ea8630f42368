"""GET /orders, /orders/{id} and /users/{id}/orders."""

from datetime import timedelta
from decimal import Decimal

import httpx
import pytest

from contract.resources import OrderItemView, OrderView
from tests.query.answers import ids, problem, version_in
from tests.query.rows import START, Rows

pytestmark = pytest.mark.anyio
NOBODY = "0197c1c2-7d8e-7000-8000-ffffffffffff"


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        ("[gte]=2026-11-22T13:51:00.123456000Z", [0, 1]),
        ("[gte]=2026-11-22T13:51:00.123456001Z", [1]),
        ("[gt]=2026-11-22T13:51:00.123456789Z", [1]),
        ("[gt]=2026-11-22T14:51:00.123456%2B0100", [1]),
        ("[lte]=2026-11-22T13:51:00.123456789Z", [0]),
        ("[lt]=2026-11-22T13:51:00.123456789Z", [0]),
        ("[lt]=2026-11-22T13:51:00.123456000Z", []),
        ("[lt]=2026-11-22t13:51:00.1234570z", [0]),
        ("[gte]=2026-11-22t14:51:00.123457%2B01:00", [1]),
    ],
)
async def test_a_time_may_have_nine_decimals_and_counts_with_all_of_them(
    api: httpx.AsyncClient, rows: Rows, condition: str, shown: list[int]
) -> None:
    placed = [rows.order(placed_at=START + timedelta(microseconds=123_456 + more)) for more in range(2)]
    answer = await api.get(f"/orders?sort=placed_at&placed_at{condition}")
    assert ids(answer) == [placed[number] for number in shown]


async def test_an_order_is_shown_with_all_its_members_in_the_order_of_the_contract(
    api: httpx.AsyncClient, rows: Rows
) -> None:
    user, product = rows.user(), rows.product()
    order = rows.order(
        user,
        [],
        external_id="web-1",
        status="partially_cancelled",
        total=Decimal("99.975"),
        cancelled_total=Decimal("33.325"),
        note="Bitte klingeln: 🔔",
        cancel_reason='broken "mug"',
        placed_at=START + timedelta(microseconds=1),
        cancelled_at=START + timedelta(days=1),
        updated_at=START + timedelta(days=1),
        version=2,
    )
    # Put in backwards: lines come in their order, not in the table's.
    rows.lines(
        order, [product], line=2, sku="B", name="b", quantity=1, unit_price=Decimal("66.65"), amount=Decimal("66.65")
    )
    rows.lines(order, [product], cancelled_quantity=1, unit_price=Decimal("33.325"), amount=Decimal("33.325"))
    answer = await api.get(f"/orders/{order}")
    assert version_in(answer) == 2
    assert list(answer.json()) == list(OrderView.model_fields)
    assert list(answer.json()["items"][0]) == list(OrderItemView.model_fields)
    assert answer.json() == {
        "id": order,
        "external_id": "web-1",
        "user_id": user,
        "status": "partially_cancelled",
        "currency": "EUR",
        "total": "99.975",
        "cancelled_total": "33.325",
        "items": [
            {
                "line": 1,
                "product_id": product,
                "sku": "SKU",
                "name": "as it was",
                "quantity": 1,
                "cancelled_quantity": 1,
                "unit_price": "33.325",
                "amount": "33.325",
            },
            {
                "line": 2,
                "product_id": product,
                "sku": "B",
                "name": "b",
                "quantity": 1,
                "cancelled_quantity": 0,
                "unit_price": "66.65",
                "amount": "66.65",
            },
        ],
        "note": "Bitte klingeln: 🔔",
        "cancel_reason": 'broken "mug"',
        "placed_at": "2026-11-22T13:51:00.000001Z",
        "cancelled_at": "2026-11-23T13:51:00.000000Z",
        "version": 2,
        "updated_at": "2026-11-23T13:51:00.000000Z",
    }


async def test_missing_values_of_an_order_are_null(api: httpx.AsyncClient, rows: Rows) -> None:
    shown = (await api.get(f"/orders/{rows.order()}")).json()
    assert [name for name, value in shown.items() if value is None] == [
        "external_id",
        "note",
        "cancel_reason",
        "cancelled_at",
    ]


async def test_an_order_of_a_thousand_lines_is_shown_in_order(api: httpx.AsyncClient, rows: Rows) -> None:
    product = rows.product()
    order = rows.order(lines=[product] * 1000)
    shown = (await api.get(f"/orders/{order}")).json()
    assert [item["line"] for item in shown["items"]] == list(range(1, 1001))
    assert (await api.get("/orders")).json()["data"] == [shown]


async def test_the_list_shows_orders_as_they_are_shown_alone(api: httpx.AsyncClient, rows: Rows) -> None:
    orders = [rows.order(), rows.order(lines=[rows.product(), rows.product()])]
    alone = [(await api.get(f"/orders/{order}")).json() for order in reversed(orders)]
    assert (await api.get("/orders")).json() == {"data": alone, "next": None}


@pytest.mark.parametrize("sort", ["placed_at", "-placed_at", "total", "-total"])
async def test_orders_are_sorted_and_equal_ones_by_id(api: httpx.AsyncClient, rows: Rows, sort: str) -> None:
    # Totals and times that contradict each other, and two orders that are equal in both, put in against their ids.
    user, product = rows.user(), rows.product()
    orders = [f"0197c1c2-7d8e-7000-8000-{number:012}" for number in range(4)]
    for number, total, hours in ((3, "7.5", 3), (2, "5.00", 1), (1, "10.00", 0), (0, "5.00", 1)):
        at = START + timedelta(hours=hours)
        rows.order(user, [product], id=orders[number], total=Decimal(total), placed_at=at)
    by_key = {"placed_at": [1, 0, 2, 3], "total": [0, 2, 3, 1]}[sort.removeprefix("-")]
    expected = [orders[number] for number in by_key]
    assert ids(await api.get(f"/orders?sort={sort}")) == (expected[::-1] if sort.startswith("-") else expected)


async def test_orders_come_newest_first_when_nothing_is_asked_for(api: httpx.AsyncClient, rows: Rows) -> None:
    later, sooner = rows.order(placed_at=START + timedelta(days=1)), rows.order(placed_at=START)
    assert ids(await api.get("/orders")) == [later, sooner]


async def test_filters_pick_and_combine(api: httpx.AsyncClient, rows: Rows) -> None:
    ada, mug, tea = rows.user(), rows.product(), rows.product()
    both = rows.order(ada, [mug, tea], external_id="web-1")
    cancelled = rows.order(ada, [mug], status="cancelled")
    partially = rows.order(None, [tea], status="partially_cancelled")
    other = rows.order(None, [mug])
    queries = {
        f"user_id={ada}": {both, cancelled},
        f"user_id={ada.upper()}": {both, cancelled},
        f"user_id={NOBODY}": set(),
        "status=placed": {both, other},
        "status=cancelled": {cancelled},
        "status=partially_cancelled": {partially},
        "status=cancelled,partially_cancelled": {cancelled, partially},
        "status=partially_cancelled&status=cancelled": {cancelled, partially},
        "status=placed,cancelled,partially_cancelled,placed": {both, other, cancelled, partially},
        f"product_id={mug}": {both, cancelled, other},
        f"product_id={tea}": {both, partially},
        f"product_id={NOBODY}": set(),
        "external_id=web-1": {both},
        "external_id=WEB-1": set(),
        f"user_id={ada}&status=cancelled": {cancelled},
        f"user_id={ada}&product_id={tea}": {both},
        f"product_id={mug}&status=placed": {both, other},
        f"product_id={mug}&status=placed&user_id={ada}&external_id=web-1&total[gte]=1": {both},
    }
    for query, expected in queries.items():
        for sort in ("placed_at", "-placed_at", "total", "-total"):
            found = ids(await api.get(f"/orders?{query}&sort={sort}"))
            assert set(found) == expected, query
            assert len(found) == len(expected), query


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("placed_at[gte]=2026-11-22T14:51:00Z", [1, 2]),
        ("placed_at[gt]=2026-11-22T14:51:00Z", [2]),
        ("placed_at[lte]=2026-11-22T14:51:00.000000Z", [0, 1]),
        ("placed_at[lt]=2026-11-22T14:51:00Z", [0]),
        ("placed_at[gte]=2026-11-22T15:51:00%2B01:00&placed_at[lt]=2026-11-22T10:51:00.1-05:00", [1, 2]),
        ("placed_at[gt]=2026-11-22T14:51:00Z&placed_at[lt]=2026-11-22T14:51:00Z", []),
        ("placed_at[lt]=9999-12-31T23:59:59Z&placed_at[gt]=0001-01-01T00:00:00Z", [0, 1, 2]),
        ("total[gte]=5", [1, 2]),
        ("total[gt]=5.00", [2]),
        ("total[lte]=5.0", [0, 1]),
        ("total[lt]=5.0001", [0, 1]),
        ("total[gte]=0.5&total[lt]=5&placed_at[gte]=2026-11-22T13:51:00Z", [0]),
    ],
)
async def test_ranges(api: httpx.AsyncClient, rows: Rows, query: str, expected: list[int]) -> None:
    orders = [
        rows.order(total=Decimal(total), placed_at=START + timedelta(hours=hours))
        for hours, total in enumerate(("0.5", "5.00", "50.00"))
    ]
    for sort in ("placed_at", "total"):
        assert ids(await api.get(f"/orders?sort={sort}&{query}")) == [orders[number] for number in expected]


async def test_a_users_orders_stay_when_the_user_is_deleted(api: httpx.AsyncClient, rows: Rows) -> None:
    ada, bob = rows.user(deleted_at=START), rows.user()
    first, second = rows.order(ada), rows.order(ada, status="cancelled")
    rows.order(bob)
    assert ids(await api.get(f"/users/{ada}/orders")) == [second, first]
    assert ids(await api.get(f"/users/{ada}/orders?status=cancelled")) == [second]
    assert ids(await api.get(f"/users/{ada.upper()}/orders?sort=placed_at&limit=1")) == [first]


async def test_a_user_without_orders_has_an_empty_list_and_an_unknown_one_none(
    api: httpx.AsyncClient, rows: Rows
) -> None:
    rows.reach(9)
    answer = await api.get(f"/users/{rows.user()}/orders")
    assert answer.json() == {"data": [], "next": None}
    assert answer.headers["sync-token"] == "9"
    assert problem(await api.get(f"/users/{NOBODY}/orders")) == (404, "not-found")
    assert problem(await api.get("/users/ada/orders")) == (404, "not-found")


async def test_the_user_of_a_users_orders_is_in_the_path_only(api: httpx.AsyncClient, rows: Rows) -> None:
    user = rows.user()
    assert problem(await api.get(f"/users/{user}/orders?user_id={user}")) == (400, "unknown-parameter")
