from decimal import Decimal

from eventlog.events import CancelledLine, OrderCancelled, OrderItem, OrderLinesCancelled, OrderPlaced
from projector.projections.sales import SALES
from readmodel.sales import DailyOrders, DailySales
from tests.projector.projections.folding import ID, PRODUCT, USER, fold

STREAM = f"order-{ID}"
KEY = ("2026-01-02", PRODUCT, "CUP", "EUR")
PLACED = OrderPlaced(
    USER,
    None,
    "EUR",
    "7.625",
    None,
    (OrderItem(1, PRODUCT, "CUP", "Cup", 3, "2.50", "7.50"), OrderItem(2, PRODUCT, "CUP", "Cup", 1, "0.125", "0.125")),
)


def test_an_order_with_two_lines_of_a_product_is_one_order_of_it() -> None:
    rows = fold(STREAM, PLACED, projection=SALES)
    assert rows.of(DailySales).added[KEY].sums == {"orders": 1, "quantity": 4, "gross": Decimal("7.625")}
    assert rows.of(DailyOrders).added["2026-01-02", "EUR"].sums == {"orders": 1}


def test_cancelled_pieces_count_on_the_day_of_cancelling() -> None:
    some = OrderLinesCancelled(
        USER, "EUR", None, None, (CancelledLine(1, PRODUCT, "CUP", 1, "2.50", 1),), "2.50", "2.50"
    )
    rest = OrderCancelled(USER, "EUR", None, None, (CancelledLine(1, PRODUCT, "CUP", 2, "5.00", 3),), "5.00", "7.50")
    rows = fold(STREAM, some, rest, after=1, projection=SALES)
    assert rows.of(DailySales).added[KEY].sums == {"cancelled_quantity": 3, "cancelled": Decimal("7.50")}
