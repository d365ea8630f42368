"""Events of an order. Stream `order-<id>`.

Sums are carried, never left to be worked out: `total`, `amount` and the `..._after` fields are exact, and a projection
copies them.
"""

from typing import ClassVar

from eventlog.events.record import Happened, Record, counted

# In words, more lines than this are only counted.
LINES_TOLD_MAX = 3


class OrderItem(Record, frozen=True):
    """A line as it was when the order was placed; `amount` is quantity x unit_price."""

    line: int
    product_id: str
    sku: str
    name: str
    quantity: int
    unit_price: str
    amount: str


class OrderPlaced(Happened, frozen=True):
    user_id: str
    external_id: str | None
    currency: str
    total: str
    note: str | None
    items: tuple[OrderItem, ...]

    PERSONAL: ClassVar = ("note",)
    ABOUT: ClassVar = "user_id"

    def in_words(self) -> str:
        what = ", ".join(f"{item.quantity} x {item.sku}" for item in self.items[:LINES_TOLD_MAX])
        more = len(self.items) - LINES_TOLD_MAX
        what += f" and {counted(more, 'line')} more" if more > 0 else ""
        return f"Placed: {what}, {self.total} {self.currency}, by user {self.user_id}"


class CancelledLine(Record, frozen=True):
    """`quantity` pieces worth `amount` were cancelled now; `cancelled_after` counts all that were, of this line."""

    line: int
    product_id: str
    sku: str
    quantity: int
    amount: str
    cancelled_after: int


class _Cancelled(Happened, frozen=True):
    user_id: str
    currency: str
    reason: str | None
    external_id: str | None
    lines: tuple[CancelledLine, ...]
    amount: str
    cancelled_total_after: str

    PERSONAL: ClassVar = ("reason",)
    ABOUT: ClassVar = "user_id"

    def _in_words(self, said: str) -> str:
        if len(self.lines) > LINES_TOLD_MAX:
            pieces = sum(line.quantity for line in self.lines)
            what = f"{counted(pieces, 'piece')} of {counted(len(self.lines), 'line')}"
        else:
            what = ", ".join(f"{line.quantity} x {line.sku}" for line in self.lines)
        reason = f": {self.reason}" if self.reason is not None else ""
        return f"{said} {what}, {self.amount} {self.currency}{reason}"


class OrderLinesCancelled(_Cancelled, frozen=True):
    """A part of the order was cancelled; some of it is left.

    `amount` is the worth of what was cancelled now, `cancelled_total_after` of all that was. `external_id` names the
    caller's own document, such as a credit note: it cancels once only.
    """

    def in_words(self) -> str:
        return self._in_words("Cancelled")


class OrderCancelled(_Cancelled, frozen=True):
    """All that was left of the order was cancelled: `lines` has what was left until now. See OrderLinesCancelled."""

    def in_words(self) -> str:
        return self._in_words("Cancelled all that was left,")
