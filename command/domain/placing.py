"""The rules for placing an order: as a whole or not at all."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from command.domain import money, order, product, refusals
from command.domain.order import Decided
from command.domain.product import Product
from command.domain.user import User
from eventlog.events import OrderItem, OrderPlaced, StockReserved
from eventlog.events.record import Record


class WantedLine(Record, frozen=True):
    """`agreed_unit_price` replaces the product's price: an importer's privilege."""

    quantity: int
    expected_unit_price: Decimal | None = None
    agreed_unit_price: Decimal | None = None


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
        raise refusals.UnknownUser(user_id)
    if unknown := tuple(number for number, it in enumerate(products, 1) if it is None):
        raise refusals.UnknownProduct(unknown)
    known = [it for it in products if it is not None]
    if discontinued := tuple(number for number, it in enumerate(known, 1) if it.discontinued):
        raise refusals.Discontinued(discontinued)
    currency = known[0].currency
    if any(it.currency != currency for it in known):
        raise refusals.MixedCurrency(tuple(sorted({it.currency for it in known})))
    _check_prices(lines, known)

    # Items of one product are one reservation: their quantities are added up before the stock is looked at.
    requested: dict[str, int] = {}
    for wanted, it in zip(lines, known, strict=True):
        requested[it.id] = requested.get(it.id, 0) + wanted.quantity
    _check_stock(known, requested)

    items, total = _price(lines, known)
    events: Decided = [
        (order.stream(order_id), OrderPlaced(user_id, external_id, currency, money.text(total), note, items))
    ]
    for it in {it.id: it for it in known}.values():
        if it.stock is not None:
            quantity = requested[it.id]
            events.append((product.stream(it.id), StockReserved(order_id, quantity, it.stock - quantity)))
    return events


def _check_prices(lines: Sequence[WantedLine], products: Sequence[Product]) -> None:
    changed = tuple(
        refusals.ChangedPrice(number, wanted.expected_unit_price, it.price)
        for number, (wanted, it) in enumerate(zip(lines, products, strict=True), 1)
        if wanted.expected_unit_price is not None and wanted.expected_unit_price != Decimal(it.price)
    )
    if changed:
        raise refusals.PriceChanged(changed)


def _check_stock(products: Sequence[Product], requested: Mapping[str, int]) -> None:
    shortages = tuple(
        refusals.Shortage(number, it.id, it.sku, requested[it.id], it.stock)
        for number, it in enumerate(products, 1)
        if it.stock is not None and it.stock < requested[it.id]
    )
    if shortages:
        raise refusals.OutOfStock(shortages)


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
