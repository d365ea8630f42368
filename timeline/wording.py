"""What each event says in plain words, in one line for a person."""

from functools import singledispatch

from eventlog.events import (
    CancelledLine,
    OrderCancelled,
    OrderLinesCancelled,
    OrderPlaced,
    ProductAdded,
    ProductChanged,
    ProductDiscontinued,
    ProductRepriced,
    StockAdjusted,
    StockReleased,
    StockReserved,
    UserChanged,
    UserDeleted,
    UserRegistered,
)
from timeline.folding import Fold

# More lines than this are only counted.
LINES_SHOWN_MAX = 3


@singledispatch
def text_of(event: object, fold: Fold) -> str:
    """The event in words. `fold` includes it. An event type without words of its own gives its name."""
    return type(event).__name__


@text_of.register
def _(event: UserRegistered, fold: Fold) -> str:
    return f"Registered: {event.name}, {event.email}"


@text_of.register
def _(event: UserChanged, fold: Fold) -> str:
    said = [f"name is now {event.name}"] if event.name is not None else []
    said += [f"e-mail address is now {event.email}"] if event.email is not None else []
    return f"Changed: {', '.join(said)}"


@text_of.register
def _(event: UserDeleted, fold: Fold) -> str:
    return "Deleted"


@text_of.register
def _(event: ProductAdded, fold: Fold) -> str:
    stock = "" if event.stock_kept else ", no stock is kept"
    return f"Added: {event.name} ({event.sku}) at {event.price} {event.currency}{stock}"


@text_of.register
def _(event: ProductChanged, fold: Fold) -> str:
    return f"Renamed to {event.name}"


@text_of.register
def _(event: ProductRepriced, fold: Fold) -> str:
    row = next(fold.table("products"), None)
    currency = f" {row['currency'].value}" if row else ""
    return f"Price is now {event.price}{currency}"


@text_of.register
def _(event: ProductDiscontinued, fold: Fold) -> str:
    return "Discontinued"


@text_of.register
def _(event: StockAdjusted, fold: Fold) -> str:
    return f"Stock adjusted by {event.delta:+} to {event.stock_after}: {event.reason}"


@text_of.register
def _(event: StockReserved, fold: Fold) -> str:
    return f"{_pieces(event.quantity)} reserved for order {event.order_id}, {event.stock_after} left"


@text_of.register
def _(event: StockReleased, fold: Fold) -> str:
    return f"{_pieces(event.quantity)} released by order {event.order_id}, {event.stock_after} left"


@text_of.register
def _(event: OrderPlaced, fold: Fold) -> str:
    what = ", ".join(f"{item.quantity} x {item.sku}" for item in event.items[:LINES_SHOWN_MAX])
    more = len(event.items) - LINES_SHOWN_MAX
    what += f" and {_lines(more)} more" if more > 0 else ""
    return f"Placed by user {event.user_id}: {what}, {event.total} {event.currency}"


@text_of.register
def _(event: OrderLinesCancelled, fold: Fold) -> str:
    return _cancelled(f"Cancelled {_what(event.lines)}", event)


@text_of.register
def _(event: OrderCancelled, fold: Fold) -> str:
    return _cancelled(f"Cancelled all that was left, {_what(event.lines)}", event)


def _cancelled(said: str, event: OrderLinesCancelled | OrderCancelled) -> str:
    reason = f": {event.reason}" if event.reason is not None else ""
    return f"{said}, {event.amount} {event.currency}{reason}"


def _what(lines: tuple[CancelledLine, ...]) -> str:
    if len(lines) > LINES_SHOWN_MAX:
        return f"{_pieces(sum(line.quantity for line in lines))} of {_lines(len(lines))}"
    return ", ".join(f"{line.quantity} x {line.sku}" for line in lines)


def _pieces(number: int) -> str:
    return "1 piece" if number == 1 else f"{number} pieces"


def _lines(number: int) -> str:
    return "1 line" if number == 1 else f"{number} lines"
