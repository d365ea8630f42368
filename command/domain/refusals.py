"""Why a command is refused: a small closed tree of facts, which one place turns into HTTP problems.

Refused
|- Missing, Deleted, VersionMismatch          the thing itself
|- EmailTaken, SkuTaken, ExternalIdTaken      another one has it
|- AlreadyRegistered                          the caller has it
|- UnknownUser, UnknownProduct, Discontinued, MixedCurrency, PriceChanged, OutOfStock      placing an order
|- UnknownLine, NotCancellable                cancelling lines
`- StockNotKept, StockOutOfRange              adjusting stock
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import dataclass_transform


@dataclass_transform()
class Refused(Exception):
    """A command was refused, and nothing happened. Each kind of it is a dataclass."""

    def __init_subclass__(cls) -> None:
        dataclass(cls)


class Missing(Refused):
    stream: str


class Deleted(Refused):
    stream: str


class VersionMismatch(Refused):
    expected: int
    actual: int


class EmailTaken(Refused):
    email: str


class SkuTaken(Refused):
    sku: str
    owner: str


class ExternalIdTaken(Refused):
    """`owner` is the stream that has it; None when the caller may not know."""

    external_id: str
    owner: str | None


class AlreadyRegistered(Refused):
    user_id: str


class UnknownUser(Refused):
    user_id: str


class UnknownProduct(Refused):
    """`lines` are the numbers, from 1, of the lines that name it."""

    lines: tuple[int, ...]


class Discontinued(Refused):
    lines: tuple[int, ...]


class MixedCurrency(Refused):
    currencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangedPrice:
    line: int
    expected: Decimal
    actual: str


class PriceChanged(Refused):
    lines: tuple[ChangedPrice, ...]


@dataclass(frozen=True, slots=True)
class Shortage:
    """`requested` is what all lines of the product ask for together."""

    line: int
    product_id: str
    sku: str
    requested: int
    available: int


class OutOfStock(Refused):
    lines: tuple[Shortage, ...]


class UnknownLine(Refused):
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TooMuch:
    line: int
    requested: int
    cancellable: int


class NotCancellable(Refused):
    lines: tuple[TooMuch, ...]


class StockNotKept(Refused):
    sku: str


class StockOutOfRange(Refused):
    stock: int
