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


class Refused(Exception):
    """A command was refused, and nothing happened.

    Its kinds are not frozen, as the facts in them are: Python itself writes to an exception that is raised.
    """


@dataclass(slots=True)
class Missing(Refused):
    stream: str


@dataclass(slots=True)
class Deleted(Refused):
    stream: str


@dataclass(slots=True)
class VersionMismatch(Refused):
    expected: int
    actual: int


@dataclass(slots=True)
class EmailTaken(Refused):
    email: str


@dataclass(slots=True)
class SkuTaken(Refused):
    sku: str
    owner: str


@dataclass(slots=True)
class ExternalIdTaken(Refused):
    """`owner` is the stream that has it; None when the caller may not know."""

    external_id: str
    owner: str | None


@dataclass(slots=True)
class AlreadyRegistered(Refused):
    """The caller has a user already."""

    user_id: str


@dataclass(slots=True)
class UnknownUser(Refused):
    user_id: str


@dataclass(slots=True)
class UnknownProduct(Refused):
    """`lines` are the numbers, from 1, of the lines that name it."""

    lines: tuple[int, ...]


@dataclass(slots=True)
class Discontinued(Refused):
    lines: tuple[int, ...]


@dataclass(slots=True)
class MixedCurrency(Refused):
    currencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangedPrice:
    line: int
    expected: Decimal
    actual: str


@dataclass(slots=True)
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


@dataclass(slots=True)
class OutOfStock(Refused):
    lines: tuple[Shortage, ...]


@dataclass(slots=True)
class UnknownLine(Refused):
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TooMuch:
    line: int
    requested: int
    cancellable: int


@dataclass(slots=True)
class NotCancellable(Refused):
    lines: tuple[TooMuch, ...]


@dataclass(slots=True)
class StockNotKept(Refused):
    sku: str


@dataclass(slots=True)
class StockOutOfRange(Refused):
    stock: int
