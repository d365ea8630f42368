"""Given what was sold, when pieces come back, then which lines of which orders are cancelled, and what is in stock."""

import time
from decimal import Decimal

import pytest

from command.domain import order as rules
from command.domain import product
from command.domain.refusals import ExternalIdTaken, Missing
from command.importing.returning import (
    AlreadyCancelled,
    CancelImportedOrder,
    NothingToReturn,
    NotTheRest,
    Returned,
    ReturnItems,
)
from command.states import States
from command.submission import Outcome
from eventlog.codec import Codec
from eventlog.events import (
    CancelledLine,
    OrderCancelled,
    OrderItem,
    OrderLinesCancelled,
    OrderPlaced,
    ProductAdded,
    StockReleased,
    StockReserved,
)

AT = "2024-03-01T08:00:00.000000Z"


def given(**orders: list[tuple[str, int, str]]) -> States:
    """Orders by external_id, each of lines (sku, quantity, unit_price). A SKU in capitals is not kept in stock."""
    states = States(Codec())
    for external_id, lines in orders.items():
        items = []
        for number, (sku, quantity, price) in enumerate(lines, 1):
            if product.sku_claim(sku) not in states:
                stream = product.stream(sku)
                states.evolve(stream, ProductAdded(sku, sku, "1.00", "EUR", stock_kept=not sku.isupper()), AT)
                states.set_owner(product.sku_claim(sku), stream)
            items.append(OrderItem(number, sku, sku, sku, quantity, price, str(Decimal(price) * quantity)))
        total = str(sum(Decimal(item.amount) for item in items))
        states.evolve(rules.stream(external_id), OrderPlaced("u", external_id, "EUR", total, None, tuple(items)), AT)
        states.set_owner(rules.external_id_claim(external_id), rules.stream(external_id))
    return states


def when(states: States, command: ReturnItems | CancelImportedOrder) -> Outcome:
    """Decide, having first learned of everything that the command reads: what it does not read, it does not know."""
    while missing := [key for key in command.reads(states) if key not in states]:
        for key in missing:
            states.set_owner(key, None)
    outcome = command.decide(states)
    for stream, event in outcome.events:
        states.evolve(stream, event, AT)
    for claim, owner in outcome.claimed.items():
        states.set_owner(claim, owner)
    return outcome


def back(order: str, sku: str, quantity: int, price: str | None = None, line: int = 1) -> Returned:
    return Returned(line, sku, order, quantity, None if price is None else Decimal(price))


def cancelled(outcome: Outcome) -> list[tuple[str, dict[int, int]]]:
    """The orders, and how many pieces of their lines were cancelled."""
    return [
        (stream, {line.line: line.quantity for line in event.lines})
        for stream, event in outcome.events
        if isinstance(event, OrderLinesCancelled | OrderCancelled)
    ]


def test_the_line_of_the_returned_price_is_preferred():
    states = given(A=[("tea", 5, "1.00"), ("tea", 5, "2.00")])
    outcome = when(states, ReturnItems("R", (back("A", "tea", 2, "2.0"),)))
    assert outcome.events == [
        (
            "order-A",
            OrderLinesCancelled("u", "EUR", None, "R", (CancelledLine(2, "tea", "tea", 2, "4.00", 2),), "4.00", "4.00"),
        ),
        ("product-tea", StockReleased("A", 2, 2)),
    ]


def test_a_line_that_has_enough_left_is_preferred_to_several():
    states = given(A=[("tea", 1, "1.00"), ("tea", 5, "1.00"), ("tea", 9, "1.00")])
    assert cancelled(when(states, ReturnItems("R", (back("A", "tea", 5),)))) == [("order-A", {2: 5})]


def test_several_lines_are_taken_when_no_line_has_enough():
    states = given(A=[("tea", 3, "9.00"), ("tea", 2, "1.00"), ("cup", 9, "1.00"), ("tea", 2, "1.00")])
    assert cancelled(when(states, ReturnItems("R", (back("A", "tea", 5, "1.00"),)))) == [
        ("order-A", {1: 1, 2: 2, 4: 2})
    ]


def test_another_price_than_any_line_has_counts_at_the_orders_own():
    states = given(A=[("tea", 3, "1.25")])
    ((_, event), _) = when(states, ReturnItems("R", (back("A", "tea", 2, "99"),))).events
    assert isinstance(event, OrderLinesCancelled)
    assert event.amount == "2.50"


def test_lines_of_a_return_do_not_take_the_same_pieces_twice():
    states = given(A=[("tea", 2, "1.00"), ("tea", 2, "1.00")])
    outcome = when(states, ReturnItems("R", (back("A", "tea", 2), back("A", "tea", 1, line=2))))
    assert cancelled(outcome) == [("order-A", {1: 2, 2: 1})]
    with pytest.raises(NothingToReturn) as refused:
        when(states, ReturnItems("R2", (back("A", "tea", 1), back("A", "tea", 1, line=2))))
    assert (refused.value.line, refused.value.asked, refused.value.left) == (2, 1, 0)


def test_returning_all_that_is_left_cancels_the_order():
    states = given(A=[("tea", 2, "1.00"), ("POST", 1, "3.00")])
    assert not isinstance(when(states, ReturnItems("R1", (back("A", "tea", 2),))).events[0][1], OrderCancelled)
    outcome = when(states, ReturnItems("R2", (back("A", "POST", 1),)))
    assert outcome.events == [
        (
            "order-A",
            OrderCancelled("u", "EUR", None, "R2", (CancelledLine(2, "POST", "POST", 1, "3.00", 1),), "3.00", "5.00"),
        ),
    ]


def test_one_return_from_two_orders_chains_the_stock_of_their_product():
    states = given(A=[("tea", 3, "1.00")], B=[("tea", 4, "2.00"), ("cup", 1, "5.00")])
    outcome = when(states, ReturnItems("R", (back("B", "tea", 4), back("A", "tea", 1), back("B", "cup", 1, line=2))))
    assert cancelled(outcome) == [("order-B", {1: 4, 2: 1}), ("order-A", {1: 1})]
    assert [event for stream, event in outcome.events if stream == "product-tea"] == [
        StockReleased("B", 4, 4),
        StockReleased("A", 1, 5),
    ]
    assert outcome.claimed == {"cancellation:R": "order-B"}


def test_all_of_a_return_or_none_of_it():
    states = given(A=[("tea", 3, "1.00")], B=[("tea", 4, "2.00")])
    with pytest.raises(NothingToReturn):
        when(states, ReturnItems("R", (back("A", "tea", 1), back("B", "tea", 5))))
    with pytest.raises(Missing):
        when(states, ReturnItems("R", (back("A", "tea", 1), back("C", "tea", 1))))
    assert [states.entity(rules.stream(it)).version for it in "AB"] == [1, 1]
    assert when(states, ReturnItems("R", (back("A", "tea", 1),))).events


def test_a_document_counts_only_once_whatever_it_says():
    states = given(A=[("tea", 3, "1.00")], B=[("tea", 4, "2.00")])
    when(states, ReturnItems("R", (back("A", "tea", 1),)))
    for again in (ReturnItems("R", (back("B", "tea", 1),)), CancelImportedOrder("R", "A")):
        with pytest.raises(ExternalIdTaken):
            when(states, again)


def test_a_whole_cancellation_cancels_the_remaining_pieces():
    states = given(A=[("tea", 3, "1.00"), ("POST", 1, "2.00")])
    states.evolve("product-tea", StockReserved("A", 3, 100), AT)
    when(states, ReturnItems("R", (back("A", "tea", 1),)))
    outcome = when(states, CancelImportedOrder("C", "A"))
    lines = (CancelledLine(1, "tea", "tea", 2, "2.00", 3), CancelledLine(2, "POST", "POST", 1, "2.00", 1))
    assert outcome.events == [
        ("order-A", OrderCancelled("u", "EUR", None, "C", lines, "4.00", "5.00")),
        ("product-tea", StockReleased("A", 2, 103)),
    ]
    assert outcome.claimed == {"cancellation:C": "order-A"}


def test_a_return_from_a_thousand_lines_of_one_sku_is_decided_in_little_time():
    states = given(A=[("tea", 1_000, "1.00")] * 1_000)
    states.evolve("product-tea", StockReserved("A", 1_000_000, 1_000_000), AT)
    returned = tuple(back("A", "tea", 1, price="2.00", line=number) for number in range(1, 1_001))
    began = time.process_time()
    when(states, ReturnItems("R", returned))
    assert time.process_time() - began < 0.3


@pytest.mark.parametrize("named", [{"tea": 1}, {"tea": 4, "POST": 1}, {"tea": 3}, {"tea": 3, "POST": 1, "milk": 1}])
def test_a_cancellation_that_names_anything_but_the_rest_cancels_nothing(named: dict[str, int]):
    states = given(A=[("tea", 1, "1.00"), ("tea", 3, "2.00"), ("POST", 1, "2.00")])
    states.evolve("product-tea", StockReserved("A", 4, 100), AT)
    when(states, ReturnItems("R", (back("A", "tea", 1),)))
    with pytest.raises(NotTheRest):
        when(states, CancelImportedOrder("C", "A", named))
    assert when(states, CancelImportedOrder("C", "A", {"tea": 3, "POST": 1})).events


def test_a_cancelled_order_is_not_cancelled_by_another_document():
    states = given(A=[("tea", 3, "1.00")])
    when(states, CancelImportedOrder("C1", "A"))
    with pytest.raises(AlreadyCancelled):
        when(states, CancelImportedOrder("C2", "A"))
    with pytest.raises(Missing):
        when(states, CancelImportedOrder("C2", "B"))
