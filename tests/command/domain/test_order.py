"""The rules of orders, in the language of the shop."""

from decimal import Decimal

import pytest

from command.domain.refusals import (
    ChangedPrice,
    Discontinued,
    MixedCurrency,
    OutOfStock,
    PriceChanged,
    Refused,
    Shortage,
    UnknownProduct,
    UnknownUser,
)
from eventlog.events import OrderItem, OrderPlaced, ProductDiscontinued, ProductRepriced, StockReserved
from tests.command.domain.given import LATER, Happened, a_deleted_user, a_product, a_user, given, place

TEA = "product-tea"
DISCONTINUED: Happened = [(TEA, ProductDiscontinued())]


def placed(total: str, *items: OrderItem) -> tuple[str, OrderPlaced]:
    return "order-o1", OrderPlaced("ada", None, "EUR", total, None, items)


def test_an_order_takes_its_stock() -> None:
    shop = (
        given(a_user(), a_product("tea", stock=10))
        .when(place(("tea", 3)))
        .then(
            placed("7.50", OrderItem(1, "tea", "TEA", "Tea", 3, "2.50", "7.50")),
            (TEA, StockReserved("o1", 3, stock_after=7)),
        )
    )
    order = shop.orders["o1"]
    assert (order.status, order.total, order.cancelled_total) == ("placed", "7.50", "0.00")
    assert (order.placed_at, order.updated_at, order.cancelled_at) == (LATER, LATER, None)
    assert shop.products["tea"].stock == 7


def test_the_same_product_on_two_lines_is_one_reservation() -> None:
    given(a_user(), a_product("tea", stock=5), a_product("cup", stock=5)).when(
        place(("tea", 2), ("cup", 1), ("tea", 3))
    ).then(
        placed(
            "15.00",
            OrderItem(1, "tea", "TEA", "Tea", 2, "2.50", "5.00"),
            OrderItem(2, "cup", "CUP", "Cup", 1, "2.50", "2.50"),
            OrderItem(3, "tea", "TEA", "Tea", 3, "2.50", "7.50"),
        ),
        (TEA, StockReserved("o1", 5, 0)),
        ("product-cup", StockReserved("o1", 1, 4)),
    )


def test_two_lines_that_would_each_fit_are_refused_together() -> None:
    given(a_user(), a_product("tea", stock=5)).when(place(("tea", 3), ("tea", 3))).then_refused(
        OutOfStock((Shortage(1, "tea", "TEA", 6, 5), Shortage(2, "tea", "TEA", 6, 5)))
    )


def test_a_refusal_lists_all_shortages_with_every_line_of_a_product() -> None:
    given(a_user(), a_product("tea", stock=1), a_product("cup", stock=9), a_product("pot", stock=0)).when(
        place(("tea", 1), ("cup", 9), ("pot", 2), ("tea", 1))
    ).then_refused(
        OutOfStock((Shortage(1, "tea", "TEA", 2, 1), Shortage(3, "pot", "POT", 2, 0), Shortage(4, "tea", "TEA", 2, 1)))
    )


def test_the_last_piece_can_be_bought() -> None:
    shop = (
        given(a_user(), a_product("tea", stock=1))
        .when(place(("tea", 1)))
        .then(placed("2.50", OrderItem(1, "tea", "TEA", "Tea", 1, "2.50", "2.50")), (TEA, StockReserved("o1", 1, 0)))
    )
    assert shop.products["tea"].stock == 0


def test_an_untracked_product_is_sold_in_any_quantity_and_reserves_nothing() -> None:
    given(a_user(), a_product("postage", stock=None, price="4.90")).when(place(("postage", 1_000_000))).then(
        placed("4900000.00", OrderItem(1, "postage", "POSTAGE", "Postage", 1_000_000, "4.90", "4900000.00"))
    )


@pytest.mark.parametrize(
    ("quantity", "price", "amount"),
    [
        (80_995, "2.08", "168469.60"),
        (3, "0.1", "0.30"),
        (3, "0.125", "0.375"),
        (7, "0.0001", "0.0007"),
        (9, "0", "0.00"),
    ],
)
def test_amounts_are_exact(quantity: int, price: str, amount: str) -> None:
    shop = given(a_user(), a_product("tea", stock=None, price=price), place(("tea", quantity))).shop
    assert shop.orders["o1"].items[0].amount == shop.orders["o1"].total == amount


def test_a_total_is_the_sum_of_the_exact_amounts() -> None:
    products = [
        a_product(name, stock=None, price=price) for name, price in [("a", "0.3333"), ("b", "0.3333"), ("c", "0.3335")]
    ]
    shop = given(a_user(), *products, place(("a", 1), ("b", 1), ("c", 1))).shop
    assert shop.orders["o1"].total == "1.0001"


def test_an_order_keeps_the_price_it_was_placed_with() -> None:
    shop = given(a_user(), a_product("tea"), place(("tea", 1)), [(TEA, ProductRepriced("9.00"))]).shop
    assert shop.orders["o1"].items[0].unit_price == "2.50"


@pytest.mark.parametrize("expected", ["2.5", "2.50", "2.5000"])
def test_an_expected_price_is_compared_by_worth(expected: str) -> None:
    given(a_user(), a_product("tea", price="2.50")).when(place(("tea", 1, expected))).then(
        placed("2.50", OrderItem(1, "tea", "TEA", "Tea", 1, "2.50", "2.50")), (TEA, StockReserved("o1", 1, 9))
    )


def test_a_refusal_lists_all_changed_prices() -> None:
    given(a_user(), a_product("tea"), a_product("cup"), a_product("pot")).when(
        place(("tea", 1, "2.40"), ("cup", 1, "2.50"), ("pot", 1, "2.60"), ("tea", 1))
    ).then_refused(PriceChanged((ChangedPrice(1, Decimal("2.40"), "2.50"), ChangedPrice(3, Decimal("2.60"), "2.50"))))


def test_only_an_existing_user_can_order() -> None:
    given(a_product("tea")).when(place(("tea", 1))).then_refused(UnknownUser("ada"))
    given(a_deleted_user(), a_product("tea")).when(place(("tea", 1))).then_refused(UnknownUser("ada"))


def test_a_refusal_lists_all_unknown_products() -> None:
    given(a_user(), a_product("tea")).when(place(("gin", 1), ("tea", 1), ("rum", 1))).then_refused(
        UnknownProduct((1, 3))
    )


def test_a_discontinued_product_is_not_sold() -> None:
    given(a_user(), a_product("tea"), a_product("cup"), DISCONTINUED).when(place(("cup", 1), ("tea", 1))).then_refused(
        Discontinued((2,))
    )


def test_an_order_has_one_currency() -> None:
    given(a_user(), a_product("tea", currency="EUR"), a_product("cup", currency="GBP")).when(
        place(("tea", 1), ("cup", 1))
    ).then_refused(MixedCurrency(("EUR", "GBP")))


def test_a_refused_order_changes_nothing() -> None:
    shop = given(a_user(), a_product("tea", stock=1)).shop
    before = dict(shop.products)
    with pytest.raises(Refused):
        place(("tea", 2))(shop)
    assert (shop.products, shop.orders) == (before, {})
