"""The rules of cancelling an order, or lines of it: never more than once, and everything goes back into stock."""

from decimal import Decimal
from random import Random

from hypothesis import given as for_any
from hypothesis import strategies
from hypothesis.strategies import integers, lists, sampled_from

from command.domain.order import Order
from command.domain.refusals import NotCancellable, Refused, TooMuch, UnknownLine
from eventlog.events import CancelledLine, OrderCancelled, OrderLinesCancelled, ProductDiscontinued, StockReleased
from tests.command.domain.given import LATER, Shop, a_product, a_user, cancel, given, place

TEA, CUP = "product-tea", "product-cup"


def part(line: int, quantity: int, after: int, name: str | None = None, amount: str | None = None) -> CancelledLine:
    """Pieces of a line: of tea at 2.50 on line 1, of cups at 4.00 on line 2, unless it is said."""
    name = name or ("tea" if line == 1 else "cup")
    price = Decimal("2.50") if name == "tea" else Decimal("4.00")
    return CancelledLine(line, name, name.upper(), quantity, amount or str(price * quantity), after)


def lines_cancelled(
    lines: tuple[CancelledLine, ...], amount: str, after: str, reason: str | None = None
) -> tuple[str, OrderLinesCancelled]:
    return "order-o1", OrderLinesCancelled("ada", "EUR", reason, None, lines, amount, after)


def cancelled(
    lines: tuple[CancelledLine, ...], amount: str, after: str, reason: str | None = None
) -> tuple[str, OrderCancelled]:
    return "order-o1", OrderCancelled("ada", "EUR", reason, None, lines, amount, after)


def an_order_of_three_teas_and_a_cup() -> given:
    return given(a_user(), a_product("tea"), a_product("cup", price="4.00"), place(("tea", 3), ("cup", 1)))


def test_cancelling_puts_everything_back() -> None:
    shop = (
        an_order_of_three_teas_and_a_cup()
        .when(cancel(reason="too late"))
        .then(
            cancelled((part(1, 3, 3), part(2, 1, 1)), "11.50", "11.50", "too late"),
            (TEA, StockReleased("o1", 3, stock_after=10)),
            (CUP, StockReleased("o1", 1, stock_after=10)),
        )
    )
    order = shop.orders["o1"]
    assert (order.status, order.total, order.cancelled_total) == ("cancelled", "11.50", "11.50")
    assert (order.cancel_reason, order.cancelled_at) == ("too late", LATER)


def test_an_order_is_cancelled_only_once() -> None:
    order = an_order_of_three_teas_and_a_cup()
    order.shop.apply(cancel()(order.shop))
    order.when(cancel()).then_nothing()


def test_a_part_is_cancelled_and_the_rest_stays() -> None:
    shop = (
        an_order_of_three_teas_and_a_cup()
        .when(cancel({1: 2}))
        .then(lines_cancelled((part(1, 2, 2),), "5.00", "5.00"), (TEA, StockReleased("o1", 2, 9)))
    )
    order = shop.orders["o1"]
    assert (order.status, order.total, order.cancelled_total) == ("partially_cancelled", "11.50", "5.00")
    assert (order.cancelled_at, [it.cancelled_quantity for it in order.items]) == (None, [2, 0])
    assert order.items[0].amount == "7.50"


def test_cancelling_lines_adds_up_to_cancelling_the_order() -> None:
    order = an_order_of_three_teas_and_a_cup()
    order.shop.apply(cancel({1: 2})(order.shop))
    order.shop.apply(cancel({2: 1})(order.shop))
    order.when(cancel({1: 1})).then(cancelled((part(1, 1, 3),), "2.50", "11.50"), (TEA, StockReleased("o1", 1, 10)))


def test_cancelling_the_rest_leaves_cancelled_pieces_alone() -> None:
    order = an_order_of_three_teas_and_a_cup()
    order.shop.apply(cancel({1: 1}, "one broke")(order.shop))
    shop = order.when(cancel()).then(
        cancelled((part(1, 2, 3), part(2, 1, 1)), "9.00", "11.50"),
        (TEA, StockReleased("o1", 2, 10)),
        (CUP, StockReleased("o1", 1, 10)),
    )
    assert shop.orders["o1"].cancel_reason == "one broke"


def test_two_lines_of_one_product_are_restocked_as_one() -> None:
    given(a_user(), a_product("tea"), place(("tea", 3), ("tea", 4))).when(cancel()).then(
        cancelled((part(1, 3, 3), part(2, 4, 4, "tea")), "17.50", "17.50"), (TEA, StockReleased("o1", 7, 10))
    )


def test_a_free_line_is_still_to_be_cancelled() -> None:
    order = given(a_user(), a_product("gift", price="0"), a_product("tea"), place(("gift", 1), ("tea", 1)))
    order.shop.apply(cancel({2: 1})(order.shop))
    assert order.shop.orders["o1"].status == "partially_cancelled"
    order.when(cancel()).then(
        cancelled((part(1, 1, 1, "gift", "0.00"),), "0.00", "2.50"), ("product-gift", StockReleased("o1", 1, 10))
    )


def test_cancelling_an_untracked_product_restocks_nothing() -> None:
    given(a_user(), a_product("postage", stock=None), place(("postage", 1))).when(cancel()).then(
        cancelled((part(1, 1, 1, "postage", "2.50"),), "2.50", "2.50")
    )


def test_a_discontinued_product_is_restocked_too() -> None:
    given(a_user(), a_product("tea"), place(("tea", 4)), [(TEA, ProductDiscontinued())]).when(cancel()).then(
        cancelled((part(1, 4, 4),), "10.00", "10.00"), (TEA, StockReleased("o1", 4, 10))
    )


def test_a_cancellation_of_too_many_pieces_is_refused_with_every_line() -> None:
    order = an_order_of_three_teas_and_a_cup()
    order.shop.apply(cancel({1: 2})(order.shop))
    order.when(cancel({1: 2, 2: 2})).then_refused(NotCancellable((TooMuch(1, 2, 1), TooMuch(2, 2, 1))))
    order.when(cancel({1: 2, 2: 1})).then_refused(NotCancellable((TooMuch(1, 2, 1),)))


def test_lines_of_a_cancelled_order_are_cancelled_no_more() -> None:
    order = an_order_of_three_teas_and_a_cup()
    order.shop.apply(cancel()(order.shop))
    order.when(cancel({1: 1})).then_refused(NotCancellable((TooMuch(1, 1, 0),)))


def test_a_line_that_the_order_does_not_have_is_unknown() -> None:
    an_order_of_three_teas_and_a_cup().when(cancel({3: 1, 1: 1, 7: 1})).then_refused(UnknownLine((3, 7)))


prices = sampled_from(["0", "0.1", "0.125", "2.08", "19.99", "999999999999.9999"])
stocks = strategies.none() | integers(0, 30)
orders = lists(strategies.tuples(sampled_from("abc"), integers(1, 12)), min_size=1, max_size=6)
requests = lists(strategies.dictionaries(integers(1, 6), integers(1, 12), min_size=1), max_size=12)


@for_any(lists(strategies.tuples(prices, stocks), min_size=3, max_size=3), orders, requests)
def test_whatever_is_ordered_and_cancelled_adds_up(
    products: list[tuple[str, int | None]], lines: list[tuple[str, int]], asked: list[dict[int, int]]
) -> None:
    stock = {name: it[1] for name, it in zip("abc", products, strict=True)}
    shop = given(a_user(), *(a_product(name, it[1], it[0]) for name, it in zip("abc", products, strict=True))).shop
    try:
        shop.apply(place(*lines)(shop))
    except Refused:
        wanted = {name: sum(quantity for it, quantity in lines if it == name) for name in stock}
        assert any(has is not None and has < wanted[name] for name, has in stock.items())
        return
    adds_up(shop, stock)
    for quantities in asked:
        try:
            shop.apply(cancel(quantities)(shop))
        except (UnknownLine, NotCancellable):
            continue
        adds_up(shop, stock)
    shop.apply(cancel()(shop))
    adds_up(shop, stock)
    order = shop.orders["o1"]
    assert (order.status, order.cancelled_total) == ("cancelled", order.total)
    assert {name: shop.products[name].stock for name in stock} == stock
    assert cancel()(shop) == []


@for_any(orders, strategies.randoms(use_true_random=False))
def test_cancelling_everything_by_lines_ends_cancelled(lines: list[tuple[str, int]], random: Random) -> None:
    shop = given(a_user(), *(a_product(name, stock=100) for name in "abc"), place(*lines)).shop
    pieces = [number for number, (_, quantity) in enumerate(lines, 1) for _ in range(quantity)]
    random.shuffle(pieces)
    for done, line in enumerate(pieces, 1):
        (_, event), *_ = happened = cancel({line: 1})(shop)
        assert isinstance(event, OrderCancelled) == (done == len(pieces))
        shop.apply(happened)
        assert shop.orders["o1"].status == ("cancelled" if done == len(pieces) else "partially_cancelled")
    assert [shop.products[name].stock for name in "abc"] == [100, 100, 100]


def adds_up(shop: Shop, stock_before: dict[str, int | None]) -> None:
    order = shop.orders["o1"]
    left = dict.fromkeys(stock_before, 0)
    for it in order.items:
        assert 0 <= it.cancelled_quantity <= it.quantity
        assert Decimal(it.amount) == Decimal(it.unit_price) * it.quantity
        left[it.product_id] += it.quantity - it.cancelled_quantity
    for name, before in stock_before.items():
        now = shop.products[name].stock
        assert now == (None if before is None else before - left[name])
        assert now is None or now >= 0
    worth = sum((Decimal(it.unit_price) * it.cancelled_quantity for it in order.items), Decimal(0))
    assert Decimal(order.cancelled_total) == worth
    assert Decimal(order.total) == sum((Decimal(it.amount) for it in order.items), Decimal(0))
    assert order.status == expected_status(order)


def expected_status(order: Order) -> str:
    if all(it.cancelled_quantity == it.quantity for it in order.items):
        return "cancelled"
    return "partially_cancelled" if any(it.cancelled_quantity for it in order.items) else "placed"
