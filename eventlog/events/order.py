"""What can happen to an order. Stream `order-<id>`.

Sums are carried, never left to be worked out: `total`, `amount` and the `..._after` fields are exact, and a projection
copies them.
"""

from typing import ClassVar

from eventlog.events.record import record


@record
class OrderItem:
    """A line as it was when the order was placed; `amount` is quantity x unit_price."""

    line: int
    product_id: str
    sku: str
    name: str
    quantity: int
    unit_price: str
    amount: str


@record
class OrderPlaced:
    user_id: str
    external_id: str | None
    currency: str
    total: str
    note: str | None
    items: tuple[OrderItem, ...]

    PERSONAL: ClassVar = ("note",)
    ABOUT: ClassVar = "user_id"


@record
class CancelledLine:
    """`quantity` was cancelled now; `cancelled_after` is all that has been cancelled of the line."""

    line: int
    quantity: int
    cancelled_after: int


@record
class OrderLinesCancelled:
    """Some is left. `amount` is the worth of what was cancelled now, `cancelled_total_after` of all that has been.

    `external_id` names the caller's own document (a credit note), where there is one: it cancels once only.
    """

    user_id: str
    reason: str | None
    external_id: str | None
    lines: tuple[CancelledLine, ...]
    amount: str
    cancelled_total_after: str

    PERSONAL: ClassVar = ("reason",)
    ABOUT: ClassVar = "user_id"


@record
class OrderCancelled(OrderLinesCancelled):
    """Nothing is left: the same facts, `lines` being what was left until now."""
