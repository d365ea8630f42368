from eventlog.events import CancelledLine, OrderCancelled, OrderItem, OrderLinesCancelled, OrderPlaced
from readmodel import shop
from tests.projector.projections.folding import ID, PRODUCT, USER, Changed, at, changes, fold

STREAM = f"order-{ID}"
ITEMS = (
    OrderItem(1, PRODUCT, "CUP-1", "Cup", 3, "2.50", "7.50"),
    OrderItem(2, PRODUCT, "CUP-1", "Cup", 1, "0.125", "0.125"),
)
PLACED = OrderPlaced(USER, "O1", "EUR", "7.625", "leave at the door", ITEMS)


def test_a_placed_order_is_a_row_with_a_row_for_each_line() -> None:
    rows = fold(STREAM, PLACED)
    order = {
        "id": ID,
        "external_id": "O1",
        "user_id": USER,
        "status": "placed",
        "currency": "EUR",
        "total": "7.625",
        "cancelled_total": "0.00",
        "note": "leave at the door",
        "cancel_reason": None,
        "placed_at": at(1),
        "cancelled_at": None,
        "line_count": 2,
        "version": 1,
        "updated_at": at(1),
    }
    line = {"order_id": ID, "product_id": PRODUCT, "sku": "CUP-1", "name": "Cup", "cancelled_quantity": 0}
    assert changes(rows, shop.Order) == Changed({ID: order}, {})
    assert changes(rows, shop.OrderItem).inserted == {
        (ID, 1): line | {"line": 1, "quantity": 3, "unit_price": "2.50", "amount": "7.50", "placed_at": at(1)},
        (ID, 2): line | {"line": 2, "quantity": 1, "unit_price": "0.125", "amount": "0.125", "placed_at": at(1)},
    }


def test_a_partly_cancelled_order_keeps_its_original_lines() -> None:
    event = OrderLinesCancelled(
        USER, "EUR", "too many", None, (CancelledLine(1, PRODUCT, "TEA", 1, "2.50", 2),), "2.50", "5.00"
    )
    rows = fold(STREAM, event, after=2)
    columns = {"status": "partially_cancelled", "cancelled_total": "5.00", "version": 3, "updated_at": at(3)}
    assert changes(rows, shop.Order) == Changed({}, {ID: columns | {"cancel_reason": "too many"}})
    assert changes(rows, shop.OrderItem) == Changed({}, {(ID, 1): {"cancelled_quantity": 2}})


def test_a_cancelled_order_says_when() -> None:
    event = OrderCancelled(
        USER,
        "EUR",
        "lost",
        None,
        (CancelledLine(1, PRODUCT, "TEA", 3, "2.50", 3), CancelledLine(2, PRODUCT, "TEA", 1, "2.50", 1)),
        "7.625",
        "7.625",
    )
    rows = fold(STREAM, event, after=1)
    columns = {"status": "cancelled", "cancelled_at": at(2), "cancelled_total": "7.625", "version": 2}
    assert changes(rows, shop.Order).set == {ID: columns | {"updated_at": at(2), "cancel_reason": "lost"}}
    assert changes(rows, shop.OrderItem).set == {
        (ID, 1): {"cancelled_quantity": 3},
        (ID, 2): {"cancelled_quantity": 1},
    }


def test_a_cancellation_without_a_reason_leaves_the_one_that_is_there() -> None:
    event = OrderCancelled(USER, "EUR", None, None, (CancelledLine(2, PRODUCT, "TEA", 1, "2.50", 1),), "0.125", "7.625")
    assert "cancel_reason" not in changes(fold(STREAM, event, after=2), shop.Order).set[ID]


def test_an_order_placed_and_cancelled_within_a_batch_is_written_once() -> None:
    event = OrderLinesCancelled(
        USER, "EUR", None, None, (CancelledLine(2, PRODUCT, "TEA", 1, "2.50", 1),), "0.125", "0.125"
    )
    rows = fold(STREAM, PLACED, event)
    assert changes(rows, shop.Order).set == {}
    assert changes(rows, shop.Order).inserted[ID]["status"] == "partially_cancelled"
    assert changes(rows, shop.OrderItem).set == {}
    assert [row["cancelled_quantity"] for row in changes(rows, shop.OrderItem).inserted.values()] == [0, 1]
