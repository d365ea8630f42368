"""What can happen to a product and its stock. Stream `product-<id>`.

Every stock event carries `stock_after`, so the last one alone tells the stock.
"""

from eventlog.events.record import record


@record
class ProductAdded:
    """A product kept in stock begins with none; one that is not (postage, a fee) can be ordered in any quantity."""

    sku: str
    name: str
    price: str
    currency: str
    stock_kept: bool


@record
class ProductChanged:
    name: str


@record
class ProductRepriced:
    price: str


@record
class ProductDiscontinued:
    pass


@record
class StockAdjusted:
    delta: int
    reason: str
    stock_after: int


@record
class StockReserved:
    """`quantity` is what one order takes of the product, all its lines together."""

    order_id: str
    quantity: int
    stock_after: int


@record
class StockReleased:
    order_id: str
    quantity: int
    stock_after: int
