import pytest

from eventlog.events import (
    ProductAdded,
    ProductChanged,
    ProductDiscontinued,
    ProductEvent,
    ProductRepriced,
    StockAdjusted,
    StockReleased,
    StockReserved,
)
from readmodel.shop import Product
from tests.projector.projections.folding import ID, Changed, at, changes, fold

STREAM = f"product-{ID}"
CUP = ProductAdded("CUP-1", "Cup", "2.50", "EUR", True)


def test_an_added_product_is_a_row_with_nothing_in_stock() -> None:
    row = {
        "id": ID,
        "sku": "CUP-1",
        "name": "Cup",
        "price": "2.50",
        "currency": "EUR",
        "stock": 0,
        "discontinued": False,
        "version": 1,
        "created_at": at(1),
        "updated_at": at(1),
    }
    assert changes(fold(STREAM, CUP), Product) == Changed({ID: row}, {})


def test_a_product_that_is_not_kept_in_stock_has_no_stock() -> None:
    postage = ProductAdded("POST", "Postage", "4.00", "EUR", False)
    assert changes(fold(STREAM, postage), Product).inserted[ID]["stock"] is None


@pytest.mark.parametrize(
    ("event", "columns"),
    [
        (ProductChanged("Mug"), {"name": "Mug"}),
        (ProductRepriced("0.125"), {"price": "0.125"}),
        (ProductDiscontinued(), {"discontinued": True}),
        (StockAdjusted(5, "counted", 12), {"stock": 12}),
        (StockReserved("0190-order", 5, 7), {"stock": 7}),
        (StockReleased("0190-order", 5, 12), {"stock": 12}),
    ],
)
def test_an_event_sets_its_own_columns(event: ProductEvent, columns: dict[str, object]) -> None:
    rows = fold(STREAM, event, after=6)
    assert changes(rows, Product) == Changed({}, {ID: {"version": 7, "updated_at": at(7)} | columns})


def test_the_last_stock_event_of_a_batch_tells_the_stock() -> None:
    rows = fold(STREAM, StockReserved("a", 1, 9), StockReserved("b", 2, 7), StockReleased("a", 1, 8), after=1)
    assert changes(rows, Product).set == {ID: {"version": 4, "updated_at": at(4), "stock": 8}}
