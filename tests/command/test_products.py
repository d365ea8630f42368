"""What POST, PUT and DELETE /products answer, and what they leave in the log."""

from typing import Any
from uuid import uuid4

import pytest

from tests.served import Shop, problem

UNKNOWN = "/products/01890a5d-ac96-774b-bcce-b302099a8057"


def test_a_product_is_added(shop: Shop) -> None:
    sku = uuid4().hex
    tea = {"sku": sku, "name": "Tea ", "price": "2.5", "currency": "EUR", "stock": 7}
    answer = shop.post("/products", json=tea)
    assert answer.status_code == 201
    product = answer.json()
    at = product["created_at"]
    shown: dict[str, Any] = {"id": product["id"], "sku": sku, "name": "Tea ", "price": "2.50", "currency": "EUR"}
    shown |= {"stock": 7, "in_stock": True, "discontinued": False, "version": 2, "created_at": at, "updated_at": at}
    assert product == shown
    assert answer.headers["location"] == f"/products/{product['id']}"
    assert answer.headers["etag"] == '"2"'
    assert answer.headers["sync-token"] == str(shop.head())
    assert shop.events(answer.headers["location"]) == [
        ("ProductAdded", {"sku": sku, "name": "Tea ", "price": "2.50", "currency": "EUR", "stock_kept": True}),
        ("StockAdjusted", {"delta": 7, "reason": "initial stock", "stock_after": 7}),
    ]


@pytest.mark.parametrize(
    ("body", "stock", "in_stock"), [({}, 0, False), ({"stock": 0}, 0, False), ({"stock": None}, None, True)]
)
def test_stock_is_zero_unless_told_and_null_when_it_is_not_kept(
    shop: Shop, body: dict[str, object], stock: int | None, in_stock: bool
) -> None:
    tea = {"sku": uuid4().hex, "name": "Tea", "price": 1, "currency": "EUR"} | body
    product = shop.post("/products", json=tea).json()
    assert (product["stock"], product["in_stock"], product["version"]) == (stock, in_stock, 1)


def test_skus_differ_by_case(shop: Shop) -> None:
    sku = f"a{uuid4().hex}"
    first = shop.product(sku=sku)
    shop.product(sku=sku.upper())
    answer = shop.post("/products", json={"sku": sku, "name": "Tea", "price": "1", "currency": "EUR"})
    assert problem(answer) == (409, "sku-taken")
    assert answer.headers["location"] == f"/products/{first['id']}"


def test_a_sku_is_never_free_again(shop: Shop) -> None:
    product = shop.product()
    shop.delete(f"/products/{product['id']}")
    answer = shop.post("/products", json={"sku": product["sku"], "name": "Tea", "price": "1", "currency": "EUR"})
    assert problem(answer) == (409, "sku-taken")


def test_a_change_records_only_the_changed_fields(shop: Shop) -> None:
    product = shop.product(price="2.50")
    path = f"/products/{product['id']}"
    answer = shop.put(path, json={"name": "Mint", "price": "2.500"}, headers={"If-Match": '"2"'})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"3"')
    changed = answer.json()
    assert changed == product | {"name": "Mint", "version": 3, "updated_at": changed["updated_at"]}
    shop.put(path, json={"name": "Mint", "price": 2.75})
    shop.put(path, json={"name": "Peppermint", "price": "3"})
    assert shop.events(path)[2:] == [
        ("ProductChanged", {"name": "Mint"}),
        ("ProductRepriced", {"price": "2.75"}),
        ("ProductChanged", {"name": "Peppermint"}),
        ("ProductRepriced", {"price": "3.00"}),
    ]


def test_nothing_is_appended_when_all_is_equal(shop: Shop) -> None:
    product = shop.product(price="2.50")
    before = shop.head()
    answer = shop.put(f"/products/{product['id']}", json={"name": product["name"], "price": 2.5})
    assert (answer.status_code, answer.json()) == (200, product)
    assert answer.headers["sync-token"] == str(before) == str(shop.head())


def test_a_product_is_discontinued_again_without_a_word(shop: Shop) -> None:
    product = shop.product()
    path = f"/products/{product['id']}"
    for _ in range(2):
        answer = shop.delete(path, headers={"If-Match": '"2"'})
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["sync-token"] == str(shop.head())
    assert shop.events(path)[2:] == [("ProductDiscontinued", {})]
    assert shop.put(path, json={"name": "Tea", "price": "1"}).json()["discontinued"] is True


def test_stock_is_adjusted(shop: Shop) -> None:
    product = shop.product(stock=10)
    path = f"/products/{product['id']}"
    answer = shop.post(f"{path}/stock", json={"delta": -10, "reason": "broken"}, headers={"If-Match": '"2"'})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"3"')
    assert answer.json() == product | {
        "stock": 0,
        "in_stock": False,
        "version": 3,
        "updated_at": answer.json()["updated_at"],
    }
    assert "location" not in answer.headers
    assert shop.events(path)[-1] == ("StockAdjusted", {"delta": -10, "reason": "broken", "stock_after": 0})


def test_stock_is_not_adjusted_below_zero(shop: Shop) -> None:
    product = shop.product(stock=10)
    before = shop.head()
    answer = shop.post(f"/products/{product['id']}/stock", json={"delta": -11, "reason": "broken"})
    assert problem(answer) == (409, "insufficient-stock")
    short = {"line": 1, "product_id": product["id"], "sku": product["sku"], "requested": 11, "available": 10}
    assert answer.json()["lines"] == [short]
    assert shop.head() == before


def test_the_stock_of_an_untracked_product_is_not_adjusted(shop: Shop) -> None:
    product = shop.product(stock=None)
    answer = shop.post(f"/products/{product['id']}/stock", json={"delta": 1, "reason": "found"})
    assert problem(answer) == (409, "stock-not-kept")


def test_stock_has_an_upper_bound(shop: Shop) -> None:
    product = shop.product(stock=10**12)
    answer = shop.post(f"/products/{product['id']}/stock", json={"delta": 1, "reason": "found"})
    assert problem(answer) == (422, "validation-error")
    assert [it["pointer"] for it in answer.json()["errors"]] == ["/delta"]


def test_a_missing_resource_is_not_found(shop: Shop) -> None:
    body = {"name": "Tea", "price": "1"}
    for path in (UNKNOWN, "/products/tea"):
        assert problem(shop.put(path, json=body)) == (404, "not-found")
        assert problem(shop.delete(path)) == (404, "not-found")
        assert problem(shop.post(f"{path}/stock", json={"delta": 1, "reason": "found"})) == (404, "not-found")


def test_a_stale_version_is_refused(shop: Shop) -> None:
    product = shop.product()
    path = f"/products/{product['id']}"
    before = shop.head()
    stale = {"If-Match": '"1"'}
    for answer in (
        shop.put(path, json={"name": "Tea", "price": "1"}, headers=stale),
        shop.delete(path, headers=stale),
        shop.post(f"{path}/stock", json={"delta": 1, "reason": "found"}, headers=stale),
    ):
        assert problem(answer) == (412, "version-mismatch")
        assert answer.headers["etag"] == '"2"'
    assert shop.head() == before


def test_an_order_moves_the_version_of_its_products(shop: Shop) -> None:
    product = shop.product()
    shop.order((product, 1))
    answer = shop.put(f"/products/{product['id']}", json={"name": "Tea", "price": "1"}, headers={"If-Match": '"2"'})
    assert (problem(answer), answer.headers["etag"]) == ((412, "version-mismatch"), '"3"')


def test_methods_that_products_do_not_take(shop: Shop) -> None:
    paths = {"/products": "GET, HEAD, POST", UNKNOWN: "DELETE, GET, HEAD, PUT", f"{UNKNOWN}/stock": "POST"}
    for path, methods in paths.items():
        answer = shop.http.request("PATCH", path)
        assert problem(answer) == (405, "method-not-allowed")
        assert answer.headers["allow"] == methods
