"""The rules of products and their stock, in the language of the shop."""

from decimal import Decimal

from hypothesis import given as for_any
from hypothesis.strategies import integers, lists

from command.domain import product
from command.domain.refusals import OutOfStock, Refused, Shortage, StockNotKept, StockOutOfRange
from eventlog.events import (
    ProductAdded,
    ProductChanged,
    ProductDiscontinued,
    ProductEvent,
    ProductRepriced,
    StockAdjusted,
)
from tests.command.domain.given import AT, LATER, Decision, Happened, Shop, a_product, given

TEA = "product-tea"


def told(events: list[ProductEvent]) -> Happened:
    return [(TEA, event) for event in events]


def add(price: str = "2.50", stock: int | None = 10) -> Decision:
    return lambda _: told(product.add("TEA", "Tea", Decimal(price), "EUR", stock))


def change(name: str, price: str) -> Decision:
    return lambda shop: told(product.change(shop.products["tea"], name, Decimal(price)))


def adjust(delta: int) -> Decision:
    return lambda shop: told(product.adjust_stock(shop.products["tea"], delta, "counted"))


def discontinue(shop: Shop) -> Happened:
    return told(product.discontinue(shop.products["tea"]))


def test_a_product_with_stock_is_added_and_stocked() -> None:
    shop = (
        given()
        .when(add("2.5", stock=10))
        .then((TEA, ProductAdded("TEA", "Tea", "2.50", "EUR", True)), (TEA, StockAdjusted(10, "initial stock", 10)))
    )
    assert shop.products["tea"] == product.Product("tea", "TEA", "Tea", "2.50", "EUR", 10, False, LATER, LATER)


def test_a_product_without_any_yet_has_stock_zero() -> None:
    shop = given().when(add(stock=0)).then((TEA, ProductAdded("TEA", "Tea", "2.50", "EUR", True)))
    assert shop.products["tea"].stock == 0


def test_a_product_that_is_not_kept_in_stock_has_none() -> None:
    shop = given().when(add(stock=None)).then((TEA, ProductAdded("TEA", "Tea", "2.50", "EUR", False)))
    assert shop.products["tea"].stock is None


def test_an_event_has_only_the_changed_fields() -> None:
    given(a_product("tea")).when(change("Green tea", "2.50")).then((TEA, ProductChanged("Green tea")))
    given(a_product("tea")).when(change("Tea", "2.75")).then((TEA, ProductRepriced("2.75")))
    given(a_product("tea")).when(change("Mint", "3")).then(
        (TEA, ProductChanged("Mint")), (TEA, ProductRepriced("3.00"))
    )


def test_the_same_price_written_differently_is_no_change() -> None:
    given(a_product("tea", price="2.50")).when(change("Tea", "2.5000")).then_nothing()


def test_a_change_keeps_stock_sku_and_currency() -> None:
    shop = given(a_product("tea", stock=7)).when(change("Mint", "2.50")).then((TEA, ProductChanged("Mint")))
    assert shop.products["tea"] == product.Product("tea", "TEA", "Mint", "2.50", "EUR", 7, False, AT, LATER)


def test_a_product_is_discontinued_once() -> None:
    shop = given(a_product("tea")).when(discontinue).then((TEA, ProductDiscontinued()))
    assert shop.products["tea"].discontinued
    given(a_product("tea"), discontinue).when(discontinue).then_nothing()


def test_stock_is_adjusted_up_and_down_to_zero() -> None:
    given(a_product("tea", stock=10)).when(adjust(5)).then((TEA, StockAdjusted(5, "counted", 15)))
    given(a_product("tea", stock=10)).when(adjust(-10)).then((TEA, StockAdjusted(-10, "counted", 0)))


def test_stock_is_not_adjusted_below_zero() -> None:
    short = Shortage(line=1, product_id="tea", sku="TEA", requested=11, available=10)
    given(a_product("tea", stock=10)).when(adjust(-11)).then_refused(OutOfStock((short,)))


def test_stock_has_an_upper_bound() -> None:
    given(a_product("tea", stock=1)).when(adjust(product.STOCK_MAX)).then_refused(StockOutOfRange(10**12 + 1))
    given(a_product("tea", stock=1)).when(adjust(10**12 - 1)).then((TEA, StockAdjusted(10**12 - 1, "counted", 10**12)))


def test_the_stock_of_an_untracked_product_is_not_adjusted() -> None:
    given(a_product("tea", stock=None)).when(adjust(1)).then_refused(StockNotKept("TEA"))


def test_a_discontinued_product_may_still_be_counted() -> None:
    given(a_product("tea"), discontinue).when(adjust(-3)).then((TEA, StockAdjusted(-3, "counted", 7)))


@for_any(lists(integers(-20, 20).filter(bool), max_size=40))
def test_stock_is_the_sum_of_the_adjustments_that_were_taken_and_never_negative(deltas: list[int]) -> None:
    shop = given(a_product("tea", stock=10)).shop
    expected = 10
    for delta in deltas:
        try:
            shop.apply(adjust(delta)(shop))
            expected += delta
        except Refused:
            assert expected + delta < 0
        assert shop.products["tea"].stock == expected >= 0
