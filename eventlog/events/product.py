"""What can happen to a product and its stock. Stream `product-<id>`.

Every stock event carries `stock_after`, so the last one alone tells the stock.
"""

from eventlog.events.record import Record


class ProductAdded(Record, frozen=True):
    """A product kept in stock begins with none; one that is not (postage, a fee) can be ordered in any quantity."""

    sku: str
    name: str
    price: str
    currency: str
    stock_kept: bool


class ProductChanged(Record, frozen=True):
    name: str


class ProductRepriced(Record, frozen=True):
    price: str


class ProductDiscontinued(Record, frozen=True):
    pass


class StockAdjusted(Record, frozen=True):
    delta: int
    reason: str
    stock_after: int


class StockReserved(Record, frozen=True):
    """`quantity` is what one order takes of the product, all its lines together."""

    order_id: str
    quantity: int
    stock_after: int


class StockReleased(Record, frozen=True):
    order_id: str
    quantity: int
    stock_after: int
