"""Orders and their items, as rows."""

from collections.abc import Mapping
from typing import Any

from eventlog.events import OrderCancelled, OrderLinesCancelled, OrderPlaced
from projector.projection import Envelope, Handler
from projector.rows import Rows
from readmodel.shop import Order, OrderItem


def placed(event: OrderPlaced, of: Envelope, rows: Rows) -> None:
    rows.insert(
        Order,
        {
            "id": of.id,
            "external_id": event.external_id,
            "user_id": event.user_id,
            "status": "placed",
            "currency": event.currency,
            "total": event.total,
            "cancelled_total": "0.00",
            "note": event.note,
            "cancel_reason": None,
            "placed_at": of.at,
            "cancelled_at": None,
            "line_count": len(event.items),
            "version": of.version,
            "updated_at": of.at,
        },
    )
    for item in event.items:
        rows.insert(
            OrderItem,
            {
                "order_id": of.id,
                "line": item.line,
                "product_id": item.product_id,
                "sku": item.sku,
                "name": item.name,
                "quantity": item.quantity,
                "cancelled_quantity": 0,
                "unit_price": item.unit_price,
                "amount": item.amount,
                "placed_at": of.at,
            },
        )


def lines_cancelled(event: OrderLinesCancelled, of: Envelope, rows: Rows) -> None:
    _cancel(event, of, rows, {"status": "partially_cancelled"})


def cancelled(event: OrderCancelled, of: Envelope, rows: Rows) -> None:
    _cancel(event, of, rows, {"status": "cancelled", "cancelled_at": of.at})


def _cancel(event: OrderLinesCancelled | OrderCancelled, of: Envelope, rows: Rows, columns: dict[str, object]) -> None:
    columns |= {"cancelled_total": event.cancelled_total_after, "version": of.version, "updated_at": of.at}
    if event.reason is not None:
        columns["cancel_reason"] = event.reason
    rows.set(Order, of.id, columns)
    for line in event.lines:
        rows.set(OrderItem, (of.id, line.line), {"cancelled_quantity": line.cancelled_after})


ON: Mapping[type[Any], Handler] = {
    OrderPlaced: placed,
    OrderLinesCancelled: lines_cancelled,
    OrderCancelled: cancelled,
}
