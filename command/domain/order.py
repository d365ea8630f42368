"""The state of an order on the write side, the names of its stream and claims, and how each event changes it."""

from typing import Literal

from eventlog.events import Event, OrderCancelled, OrderEvent, OrderLinesCancelled, OrderPlaced
from eventlog.events.record import Record, replace


class Item(Record, frozen=True):
    """A line of an order: what the product was called and cost when the order was placed."""

    line: int
    product_id: str
    sku: str
    name: str
    quantity: int
    cancelled_quantity: int
    unit_price: str
    amount: str

    @property
    def quantity_left(self) -> int:
        """How many pieces are not cancelled."""
        return self.quantity - self.cancelled_quantity


class Order(Record, frozen=True):
    id: str
    external_id: str | None
    user_id: str
    status: Literal["placed", "partially_cancelled", "cancelled"]
    currency: str
    total: str
    cancelled_total: str
    items: tuple[Item, ...]
    note: str | None
    cancel_reason: str | None
    placed_at: str
    cancelled_at: str | None
    updated_at: str


Decided = list[tuple[str, Event]]


def stream(order_id: str) -> str:
    return f"order-{order_id}"


def external_id_claim(external_id: str) -> str:
    return f"order:{external_id}"


def cancellation_claim(external_id: str) -> str:
    return f"cancellation:{external_id}"


def evolve(order_id: str, order: Order | None, event: OrderEvent, at: str) -> Order:
    match event:
        case OrderPlaced():
            return Order(
                id=order_id,
                external_id=event.external_id,
                user_id=event.user_id,
                status="placed",
                currency=event.currency,
                total=event.total,
                cancelled_total="0.00",
                items=tuple(
                    [
                        Item(it.line, it.product_id, it.sku, it.name, it.quantity, 0, it.unit_price, it.amount)
                        for it in event.items
                    ]
                ),
                note=event.note,
                cancel_reason=None,
                placed_at=at,
                cancelled_at=None,
                updated_at=at,
            )
        case OrderLinesCancelled() | OrderCancelled():
            assert order is not None
            after = {it.line: it.cancelled_after for it in event.lines}
            whole = isinstance(event, OrderCancelled)
            return replace(
                order,
                status="cancelled" if whole else "partially_cancelled",
                cancelled_total=event.cancelled_total_after,
                items=tuple(
                    replace(it, cancelled_quantity=after[it.line]) if it.line in after else it for it in order.items
                ),
                cancel_reason=event.reason if event.reason is not None else order.cancel_reason,
                cancelled_at=at if whole else None,
                updated_at=at,
            )
