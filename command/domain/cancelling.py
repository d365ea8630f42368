"""The rules for cancelling an order: as a whole or by lines, and no piece of it twice."""

from collections.abc import Mapping
from decimal import Decimal

from command.domain import money, product
from command.domain.order import Decided, Item, Order, stream
from command.domain.product import Product
from command.domain.refusals import NotCancellable, TooMuch, UnknownLine
from eventlog.events import CancelledLine, OrderCancelled, OrderEvent, OrderLinesCancelled, StockReleased


def cancel(
    order: Order,
    products: Mapping[str, Product],
    quantities: Mapping[int, int] | None = None,
    reason: str | None = None,
    external_id: str | None = None,
) -> Decided:
    """Cancel what is left of the order, or `quantities` of its lines: the event, and one StockReleased a product.

    A cancelled order is cancelled no further: no events. Expects the products of all lines in `products`.
    """
    if quantities is None:
        if order.status == "cancelled":
            return []
        quantities = {it.line: it.quantity_left for it in order.items}
    else:
        _check_cancellable(order, quantities)
    cancelled = [it for it in order.items if quantities.get(it.line)]
    lines = tuple(_cancelled_line(it, quantities[it.line]) for it in cancelled)
    amount = sum((Decimal(it.amount) for it in lines), Decimal(0))
    # Counted in pieces, not in money: a line that was free is still to be cancelled.
    pieces_left = sum(it.quantity_left for it in order.items) - sum(quantities.values())
    happened = OrderLinesCancelled if pieces_left else OrderCancelled
    cancelled_total = money.text(Decimal(order.cancelled_total) + amount)
    event: OrderEvent = happened(
        order.user_id, order.currency, reason, external_id, lines, money.text(amount), cancelled_total
    )

    released: dict[str, int] = {}
    for it in cancelled:
        released[it.product_id] = released.get(it.product_id, 0) + quantities[it.line]
    events: Decided = [(stream(order.id), event)]
    for product_id, quantity in released.items():
        stock = products[product_id].stock
        if stock is not None:
            events.append((product.stream(product_id), StockReleased(order.id, quantity, stock + quantity)))
    return events


def _cancelled_line(item: Item, quantity: int) -> CancelledLine:
    amount = money.text(Decimal(item.unit_price) * quantity)
    return CancelledLine(item.line, item.product_id, item.sku, quantity, amount, item.cancelled_quantity + quantity)


def _check_cancellable(order: Order, quantities: Mapping[int, int]) -> None:
    left = {it.line: it.quantity_left for it in order.items}
    if unknown := tuple(line for line in quantities if line not in left):
        raise UnknownLine(unknown)
    if too_much := tuple(TooMuch(line, asked, left[line]) for line, asked in quantities.items() if asked > left[line]):
        raise NotCancellable(too_much)
