"""GET /products and /products/{id}."""

from decimal import Decimal

import httpx
import pytest

from contract.resources import ProductView
from tests.query.answers import ids, problem
from tests.query.rows import Rows

pytestmark = pytest.mark.anyio


async def test_a_product_is_shown_with_all_its_members_in_the_order_of_the_contract(
    api: httpx.AsyncClient, rows: Rows
) -> None:
    product = rows.product(sku="MUG", name="Mug", price=Decimal("0.125"), stock=3, version=2)
    answer = await api.get(f"/products/{product}")
    assert list(answer.json()) == list(ProductView.model_fields)
    assert answer.json() == {
        "id": product,
        "sku": "MUG",
        "name": "Mug",
        "price": "0.125",
        "currency": "EUR",
        "stock": 3,
        "in_stock": True,
        "discontinued": False,
        "version": 2,
        "created_at": "2026-11-22T13:51:01.000000Z",
        "updated_at": "2026-11-22T13:51:01.000000Z",
    }


@pytest.mark.parametrize(("stock", "in_stock"), [(1, True), (0, False), (None, True), (10**12, True)])
async def test_in_stock_means_some_or_not_kept(
    api: httpx.AsyncClient, rows: Rows, stock: int | None, in_stock: bool
) -> None:
    product = rows.product(stock=stock)
    shown = (await api.get(f"/products/{product}")).json()
    assert (shown["stock"], shown["in_stock"]) == (stock, in_stock)
    assert ids(await api.get("/products?in_stock=true")) == [product] * in_stock
    assert ids(await api.get("/products?in_stock=false")) == [product] * (not in_stock)


async def test_discontinued_products_are_shown_and_listed_unless_filtered(api: httpx.AsyncClient, rows: Rows) -> None:
    sold, discontinued = rows.product(), rows.product(discontinued=True)
    assert (await api.get(f"/products/{discontinued}")).json()["discontinued"] is True
    assert ids(await api.get("/products")) == [sold, discontinued]
    assert ids(await api.get("/products?discontinued=true")) == [discontinued]
    assert ids(await api.get("/products?discontinued=false")) == [sold]


async def test_a_sku_is_found_with_regard_to_case(api: httpx.AsyncClient, rows: Rows) -> None:
    lower, upper = rows.product(sku="mug"), rows.product(sku="MUG")
    assert ids(await api.get("/products?sku=mug")) == [lower]
    assert ids(await api.get("/products?sku=MUG")) == [upper]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("price[gte]=2.50", ["2.50", "10.00"]),
        ("price[gt]=2.5", ["10.00"]),
        ("price[lte]=2.5000", ["0.125", "2.50"]),
        ("price[lt]=2.50", ["0.125"]),
        ("price[gt]=0.125&price[lt]=10", ["2.50"]),
        ("price[gte]=11", []),
        ("price%5Bgte%5D=2.50&sort=-price", ["10.00", "2.50"]),
    ],
)
async def test_prices_are_compared_as_numbers(
    api: httpx.AsyncClient, rows: Rows, query: str, expected: list[str]
) -> None:
    for price in ("10.00", "0.125", "2.50"):
        rows.product(price=Decimal(price))
    found = (await api.get(f"/products?sort=price&{query}" if "sort" not in query else f"/products?{query}")).json()
    assert [product["price"] for product in found["data"]] == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [("sku", "abc"), ("-sku", "cba"), ("name", "cab"), ("-name", "bac"), ("price", "bca"), ("-price", "acb")],
)
async def test_products_are_sorted(api: httpx.AsyncClient, rows: Rows, sort: str, expected: str) -> None:
    for sku, name, price in (("b", "Z", "1.00"), ("c", "A", "2.00"), ("a", "M", "3.00")):
        rows.product(sku=sku, name=name, price=Decimal(price))
    found = (await api.get(f"/products?sort={sort}")).json()["data"]
    assert "".join(product["sku"] for product in found) == expected


async def test_products_come_by_sku_when_nothing_is_asked_for(api: httpx.AsyncClient, rows: Rows) -> None:
    later, sooner = rows.product(sku="B"), rows.product(sku="A")
    assert ids(await api.get("/products")) == [sooner, later]


async def test_unknown_products_are_not_found(api: httpx.AsyncClient, rows: Rows) -> None:
    user = rows.user()
    assert problem(await api.get(f"/products/{user}")) == (404, "not-found")
    assert problem(await api.get("/products/mug")) == (404, "not-found")
