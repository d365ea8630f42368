"""The rules of products and their stock, which never goes below zero."""

from decimal import Decimal

from command.domain import money
from command.domain.refusals import OutOfStock, Shortage, StockNotKept, StockOutOfRange
from eventlog.events import (
    ProductAdded,
    ProductChanged,
    ProductDiscontinued,
    ProductEvent,
    ProductRepriced,
    StockAdjusted,
    StockReleased,
    StockReserved,
)
from eventlog.events.record import Record, replace

STOCK_MAX = 10**12


class Product(Record, frozen=True):
    """`stock` is None for what is not kept in stock and can be ordered in any quantity."""

    id: str
    sku: str
    name: str
    price: str
    currency: str
    stock: int | None
    discontinued: bool
    created_at: str
    updated_at: str

    @property
    def in_stock(self) -> bool:
        return self.stock is None or self.stock > 0


def stream(product_id: str) -> str:
    return f"product-{product_id}"


def sku_claim(sku: str) -> str:
    return f"sku:{sku}"


def add(sku: str, name: str, price: Decimal, currency: str, stock: int | None) -> list[ProductEvent]:
    events: list[ProductEvent] = [ProductAdded(sku, name, money.text(price), currency, stock is not None)]
    if stock:
        events.append(StockAdjusted(stock, "initial stock", stock))
    return events


def change(product: Product, name: str, price: Decimal) -> list[ProductEvent]:
    """Only what differs; nothing when all is equal."""
    events: list[ProductEvent] = []
    if name != product.name:
        events.append(ProductChanged(name))
    if price != Decimal(product.price):
        events.append(ProductRepriced(money.text(price)))
    return events


def discontinue(product: Product) -> list[ProductEvent]:
    return [] if product.discontinued else [ProductDiscontinued()]


def adjust_stock(product: Product, delta: int, reason: str) -> list[ProductEvent]:
    if product.stock is None:
        raise StockNotKept(product.sku)
    stock = product.stock + delta
    if stock < 0:
        raise OutOfStock((Shortage(1, product.id, product.sku, -delta, product.stock),))
    if stock > STOCK_MAX:
        raise StockOutOfRange(stock)
    return [StockAdjusted(delta, reason, stock)]


def evolve(product_id: str, product: Product | None, event: ProductEvent, at: str) -> Product:
    match event:
        case StockReserved() | StockReleased() | StockAdjusted():
            assert product is not None
            return replace(product, stock=event.stock_after, updated_at=at)
        case ProductAdded(sku, name, price, currency, stock_kept):
            return Product(product_id, sku, name, price, currency, 0 if stock_kept else None, False, at, at)
        case ProductChanged(name):
            assert product is not None
            return replace(product, name=name, updated_at=at)
        case ProductRepriced(price):
            assert product is not None
            return replace(product, price=price, updated_at=at)
        case ProductDiscontinued():
            assert product is not None
            return replace(product, discontinued=True, updated_at=at)
