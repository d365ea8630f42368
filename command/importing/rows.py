"""The rows of import files: the fields that are known, with the limits they have over HTTP; all others are ignored."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from command.fields import LINES_MAX, NOT_LOST, Currency, Email, ExternalId, Money, Name, Quantity, Sku, Stock

KEPT_IN_STOCK = "product"

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _time(value: Any) -> datetime:
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        # A time without a zone is a guess of hours: it is refused, not guessed.
        raise PydanticCustomError("time", "must be a time with its zone such as 2010-12-01T08:26:00Z")
    try:
        time = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("time", "is a time that does not exist") from None
    if time.year in {1, 9999} or not time.timestamp():  # .NET and Go, databases, Unix
        raise PydanticCustomError("lost-value", "is a time that programs write for a missing one")
    return time


def _text_of_number(value: Any) -> Any:
    """Many systems number their users and orders: a number is taken as the text of its digits."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Time = Annotated[datetime, PlainValidator(_time)]
Key = Annotated[ExternalId, BeforeValidator(_text_of_number)]
SkuKey = Annotated[Sku, BeforeValidator(_text_of_number)]


class Row(BaseModel):
    """A row: unknown members are ignored, the known ones are taken as strictly as over HTTP."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class UserRow(Row):
    """A user. Name and e-mail address are made from the id where there are none."""

    id: Key
    name: Name | None = None
    email: Email | None = None
    first_seen: Time | None = None


class ProductRow(Row):
    """A product; any other `kind` (postage, a fee, a discount) is sold without being kept in stock."""

    sku: SkuKey
    description: Name
    unit_price: Money
    currency: Currency
    kind: Annotated[Name, NOT_LOST, AfterValidator(lambda it: it.strip().lower())] = KEPT_IN_STOCK
    min_initial_stock: Stock | None = None
    first_seen: Time | None = None

    @model_validator(mode="after")
    def _stock_of_what_is_kept(self) -> "ProductRow":
        if self.kind == KEPT_IN_STOCK and self.min_initial_stock is None:
            raise PydanticCustomError("stock", "must have min_initial_stock, unless its kind is not product")
        return self

    @property
    def stock(self) -> int | None:
        """The pieces in stock; None for a product that is not kept in stock."""
        return self.min_initial_stock if self.kind == KEPT_IN_STOCK else None


def _of_a_cancellation(members: dict[str, Any]) -> dict[str, Any]:
    """Refuse a cancellation that has lost its kind: it would be taken for an order, or a return."""
    if "target" in members:
        raise PydanticCustomError("target", "must not have target, which is of the kind cancel_order")
    return members


class OrderedLine(Row):
    """`unit_price` was agreed with the customer, whatever the product costs today."""

    sku: SkuKey
    quantity: Quantity
    unit_price: Money


class PlaceOrderRow(Row):
    """An order of a user, both by the file's own keys."""

    at: Time
    order: Key
    customer: Key
    lines: Annotated[list[OrderedLine], Field(min_length=1, max_length=LINES_MAX)]
    currency: Currency | None = None

    _not_a_cancellation = model_validator(mode="before")(_of_a_cancellation)


class CancelledLine(Row):
    """How many pieces of a SKU are cancelled."""

    sku: SkuKey
    quantity: Quantity


def _has_parts(value: Any) -> bool:
    """Whether a member may name pieces: it is a list or an object, or the text of one."""
    return isinstance(value, list | dict) or (isinstance(value, str) and value.lstrip()[:1] in {"[", "{"})


class CancelOrderRow(Row):
    """`order` is the number of the cancellation, `target` of the order: all that is left of it is cancelled.

    A row may name this in `lines`. One that names less, or in another way, must not cancel all.
    """

    at: Time
    order: Key
    target: Key
    lines: list[CancelledLine] = Field(default_factory=list, min_length=1, max_length=LINES_MAX)

    @model_validator(mode="before")
    @classmethod
    def _pieces_in_lines(cls, members: dict[str, Any]) -> dict[str, Any]:
        others = [it for name, it in members.items() if name not in cls.model_fields]
        has_lists = any(isinstance(it, dict) for each in others if isinstance(each, list) for it in each)
        has_parts = "lines" not in members and any(map(_has_parts, others))
        if members.keys() & CancelledLine.model_fields or has_lists or has_parts:
            raise PydanticCustomError("lines", "must have sku and quantity in lines, and no list of another name")
        return members


class Source(Row):
    """How many pieces come back of which order."""

    order: Key
    quantity: Quantity


class ReturnedLine(Row):
    """`unit_price` only tells which line is meant, where an order has several of the SKU."""

    sku: SkuKey
    quantity: Quantity
    unit_price: Money | None = None
    sources: Annotated[list[Source], Field(alias="from", min_length=1, max_length=LINES_MAX)]

    @model_validator(mode="after")
    def _all_from_somewhere(self) -> "ReturnedLine":
        named = sum(source.quantity for source in self.sources)
        if named != self.quantity:
            facts = {"quantity": self.quantity, "named": named}
            raise PydanticCustomError("quantity", "returns {quantity} but names orders for {named}", facts)
        return self


class ReturnItemsRow(Row):
    """`order` is the number of the return."""

    at: Time
    order: Key
    lines: Annotated[list[ReturnedLine], Field(min_length=1, max_length=LINES_MAX)]

    _not_a_cancellation = model_validator(mode="before")(_of_a_cancellation)

    @model_validator(mode="before")
    @classmethod
    def _sources_at_most(cls, members: dict[str, Any]) -> dict[str, Any]:
        """Before the sources are looked at: each of a million could be wrong, and would get a sentence."""
        lines = members.get("lines")
        named = [line.get("from") for line in lines if isinstance(line, dict)] if isinstance(lines, list) else []
        sources = sum(len(it) for it in named if isinstance(it, list))
        if sources > LINES_MAX:
            facts = {"sources": sources, "most": LINES_MAX}
            raise PydanticCustomError(
                "sources", "names orders {sources} times, more than {most}: split the return", facts
            )
        return members
