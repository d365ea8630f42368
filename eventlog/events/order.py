"""What can happen to an order. Stream `order-<id>`.

Sums are carried, never left to be worked out: `total`, `amount` and the `..._after` fields are exact, and a projection
copies them.
"""

from typing import ClassVar

from eventlog.events.record import Record


class OrderItem(Record, frozen=True):
    """A line as it was when the order was placed; `amount` is quantity x unit_price."""

    line: int
    product_id: str
    sku: str
    name: str
    quantity: int
    unit_price: str
    amount: str


class OrderPlaced(Record, frozen=True):
    user_id: str
    external_id: str | None
    currency: str
    total: str
    note: str | None
    items: tuple[OrderItem, ...]

    PERSONAL: ClassVar = ("note",)
    ABOUT: ClassVar = "user_id"


class CancelledLine(Record, frozen=True):
    """`quantity` pieces worth `amount` were cancelled now; `cancelled_after` counts all that were, of this line."""

    line: int
    product_id: str
    sku: str
    quantity: int
    amount: str
    cancelled_after: int


class OrderLinesCancelled(Record, frozen=True):
    """A part of the order was cancelled; some of it is left.

    `amount` is the worth of what was cancelled now, `cancelled_total_after` of all that was. `external_id` names the
    caller's own document, such as a credit note: it cancels once only.
    """

    user_id: str
    currency: str
    reason: str | None
    external_id: str | None
    lines: tuple[CancelledLine, ...]
    amount: str
    cancelled_total_after: str

    PERSONAL: ClassVar = ("reason",)
    ABOUT: ClassVar = "user_id"


class OrderCancelled(Record, frozen=True):
    """All that was left of the order was cancelled: `lines` has what was left until now. See OrderLinesCancelled."""

    user_id: str
    currency: str
    reason: str | None
    external_id: str | None
    lines: tuple[CancelledLine, ...]
    amount: str
    cancelled_total_after: str

    PERSONAL: ClassVar = ("reason",)
    ABOUT: ClassVar = "user_id"
