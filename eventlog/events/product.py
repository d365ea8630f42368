"""What can happen to a product and its stock. Stream `product-<id>`.

Every stock event carries `stock_after`, so the last one alone tells the stock.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProductAdded:
    """A product kept in stock begins with none; one that is not (postage, a fee) can be ordered in any quantity."""

    sku: str
    name: str
    price: str
    currency: str
    stock_kept: bool


@dataclass(frozen=True, slots=True)
class ProductChanged:
    name: str


@dataclass(frozen=True, slots=True)
class ProductRepriced:
    price: str


@dataclass(frozen=True, slots=True)
class ProductDiscontinued:
    pass


@dataclass(frozen=True, slots=True)
class StockAdjusted:
    delta: int
    reason: str
    stock_after: int


@dataclass(frozen=True, slots=True)
class StockReserved:
    """`quantity` is what one order takes of the product, all its lines together."""

    order_id: str
    quantity: int
    stock_after: int


@dataclass(frozen=True, slots=True)
class StockReleased:
    order_id: str
    quantity: int
    stock_after: int
