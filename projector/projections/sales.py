"""The projection `sales`: what was sold on each day, and what was cancelled on it."""

from decimal import Decimal

from eventlog.events import OrderCancelled, OrderLinesCancelled, OrderPlaced
from projector.projection import Envelope, Projection
from projector.rows import Rows
from readmodel.sales import DailyOrders, DailySales


def placed(event: OrderPlaced, of: Envelope, rows: Rows) -> None:
    """Lines count on the day of placing. An order with two lines of a product is one order of it."""
    day = of.at[:10]
    rows.add(DailyOrders, (day, event.currency), {"orders": 1})
    counted: set[str] = set()
    for item in event.items:
        key = (day, item.product_id, item.sku, event.currency)
        sums = {
            "orders": 0 if item.product_id in counted else 1,
            "quantity": item.quantity,
            "gross": Decimal(item.amount),
        }
        counted.add(item.product_id)
        rows.add(DailySales, key, sums)


def cancelled(event: OrderLinesCancelled | OrderCancelled, of: Envelope, rows: Rows) -> None:
    """Cancelled pieces count on the day of cancelling."""
    for line in event.lines:
        key = (of.at[:10], line.product_id, line.sku, event.currency)
        rows.add(DailySales, key, {"cancelled_quantity": line.quantity, "cancelled": Decimal(line.amount)})


SALES = Projection(
    tables=(DailySales, DailyOrders),
    on={OrderPlaced: placed, OrderLinesCancelled: cancelled, OrderCancelled: cancelled},
    rest_seconds=0.5,
    batch_events=100_000,
)
