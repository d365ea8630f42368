"""The rules of orders: placed as a whole or not at all, and cancelled no more than once."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal

from command.domain import money, product
from command.domain.product import Product
from command.domain.refusals import (
    ChangedPrice,
    Discontinued,
    MixedCurrency,
    NotCancellable,
    OutOfStock,
    PriceChanged,
    Shortage,
    TooMuch,
    UnknownLine,
    UnknownProduct,
    UnknownUser,
)
from command.domain.user import User
from eventlog.events import (
    CancelledLine,
    Event,
    OrderCancelled,
    OrderEvent,
    OrderItem,
    OrderLinesCancelled,
    OrderPlaced,
    StockReleased,
    StockReserved,
)
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


class WantedLine(Record, frozen=True):
    """`agreed_unit_price` replaces the product's price: an importer's privilege."""

    quantity: int
    expected_unit_price: Decimal | None = None
    agreed_unit_price: Decimal | None = None


Decided = list[tuple[str, Event]]


def stream(order_id: str) -> str:
    return f"order-{order_id}"


def external_id_claim(external_id: str) -> str:
    return f"order:{external_id}"


def cancellation_claim(external_id: str) -> str:
    return f"cancellation:{external_id}"


def place(
    order_id: str,
    user_id: str,
    user: User | None,
    lines: Sequence[WantedLine],
    products: Sequence[Product | None],
    external_id: str | None = None,
    note: str | None = None,
) -> Decided:
    """An order of `lines`, each with its product: one OrderPlaced, and one StockReserved a product kept in stock."""
    if user is None or user.deleted:
        raise UnknownUser(user_id)
    if unknown := tuple(number for number, it in enumerate(products, 1) if it is None):
        raise UnknownProduct(unknown)
    known = [it for it in products if it is not None]
    if discontinued := tuple(number for number, it in enumerate(known, 1) if it.discontinued):
        raise Discontinued(discontinued)
    currency = known[0].currency
    if any(it.currency != currency for it in known):
        raise MixedCurrency(tuple(sorted({it.currency for it in known})))
    _check_prices(lines, known)

    # Items of one product are one reservation: their quantities are added up before the stock is looked at.
    requested: dict[str, int] = {}
    for wanted, it in zip(lines, known, strict=True):
        requested[it.id] = requested.get(it.id, 0) + wanted.quantity
    _check_stock(known, requested)

    items, total = _price(lines, known)
    events: Decided = [(stream(order_id), OrderPlaced(user_id, external_id, currency, money.text(total), note, items))]
    for it in {it.id: it for it in known}.values():
        if it.stock is not None:
            quantity = requested[it.id]
            events.append((product.stream(it.id), StockReserved(order_id, quantity, it.stock - quantity)))
    return events


def _check_prices(lines: Sequence[WantedLine], products: Sequence[Product]) -> None:
    changed = tuple(
        ChangedPrice(number, wanted.expected_unit_price, it.price)
        for number, (wanted, it) in enumerate(zip(lines, products, strict=True), 1)
        if wanted.expected_unit_price is not None and wanted.expected_unit_price != Decimal(it.price)
    )
    if changed:
        raise PriceChanged(changed)


def _check_stock(products: Sequence[Product], requested: Mapping[str, int]) -> None:
    shortages = tuple(
        Shortage(number, it.id, it.sku, requested[it.id], it.stock)
        for number, it in enumerate(products, 1)
        if it.stock is not None and it.stock < requested[it.id]
    )
    if shortages:
        raise OutOfStock(shortages)


def _price(lines: Sequence[WantedLine], products: Sequence[Product]) -> tuple[tuple[OrderItem, ...], Decimal]:
    items = []
    total = Decimal(0)
    for number, (wanted, it) in enumerate(zip(lines, products, strict=True), 1):
        agreed = wanted.agreed_unit_price
        unit_price = it.price if agreed is None else money.text(agreed)
        amount = Decimal(unit_price) * wanted.quantity
        total += amount
        items.append(OrderItem(number, it.id, it.sku, it.name, wanted.quantity, unit_price, money.text(amount)))
    return tuple(items), total


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
        quantities = {it.line: it.quantity - it.cancelled_quantity for it in order.items}
    else:
        _check_cancellable(order, quantities)
    cancelled = [it for it in order.items if quantities.get(it.line)]
    lines = tuple(_cancelled_line(it, quantities[it.line]) for it in cancelled)
    amount = sum((Decimal(it.amount) for it in lines), Decimal(0))
    # Counted in pieces, not in money: a line that was free is still to be cancelled.
    pieces_left = sum(it.quantity - it.cancelled_quantity for it in order.items) - sum(quantities.values())
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
    left = {it.line: it.quantity - it.cancelled_quantity for it in order.items}
    if unknown := tuple(line for line in quantities if line not in left):
        raise UnknownLine(unknown)
    if too_much := tuple(TooMuch(line, asked, left[line]) for line, asked in quantities.items() if asked > left[line]):
        raise NotCancellable(too_much)


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
