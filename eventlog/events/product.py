"""Events of a product and its stock. Stream `product-<id>`. `stock_after` of the last stock event tells the stock."""

from eventlog.events.record import Happened, counted


class ProductAdded(Happened, frozen=True):
    """A product kept in stock begins with none; one that is not (postage, a fee) can be ordered in any quantity."""

    sku: str
    name: str
    price: str
    currency: str
    stock_kept: bool

    def in_words(self) -> str:
        stock = "" if self.stock_kept else ", no stock is kept"
        return f"Added: {self.name} ({self.sku}) at {self.price} {self.currency}{stock}"


class ProductChanged(Happened, frozen=True):
    name: str

    def in_words(self) -> str:
        return f"Renamed to {self.name}"


class ProductRepriced(Happened, frozen=True):
    price: str

    def in_words(self) -> str:
        return f"Price is now {self.price}"


class ProductDiscontinued(Happened, frozen=True):
    def in_words(self) -> str:
        return "Discontinued"


class StockAdjusted(Happened, frozen=True):
    delta: int
    reason: str
    stock_after: int

    def in_words(self) -> str:
        return f"Stock adjusted by {self.delta:+} to {self.stock_after}: {self.reason}"


class StockReserved(Happened, frozen=True):
    """`quantity` is what one order takes of the product, all its lines together."""

    order_id: str
    quantity: int
    stock_after: int

    def in_words(self) -> str:
        return f"{counted(self.quantity, 'piece')} reserved for order {self.order_id}, {self.stock_after} left"


class StockReleased(Happened, frozen=True):
    order_id: str
    quantity: int
    stock_after: int

    def in_words(self) -> str:
        return f"{counted(self.quantity, 'piece')} released by order {self.order_id}, {self.stock_after} left"
