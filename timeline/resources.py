"""From folded rows to the resources that callers know: their members, and which event set each."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from contract.resources import OrderItemView, OrderView, ProductView, UserView
from timeline.folding import Cell, Fold, PastEvent

_USER, _PRODUCT, _ORDER, _ITEM = (
    tuple(model.model_fields) for model in (UserView, ProductView, OrderView, OrderItemView)
)
# The only member of a line that changes. In `fields` it is a field of its own.
_CHANGING = "cancelled_quantity"


class Field(NamedTuple):
    """A field's value, and the event that set it last.

    A line of an order is the field `items.<line>`, without the member that changes: `items.<line>.cancelled_quantity`.
    """

    name: str
    value: Any
    event: PastEvent


def kind_of(stream: str) -> str:
    """`order`, `user` or `product`."""
    return stream.partition("-")[0]


def path_of(stream: str) -> str:
    """The path of the resource that is the fold of the stream."""
    kind, _, id_ = stream.partition("-")
    return f"/{kind}s/{id_}"


def view(stream: str, fold: Fold) -> dict[str, Any]:
    """The resource as GET answers it."""
    row = _row(stream, fold)
    match kind_of(stream):
        case "user":
            return {name: row[name].value for name in _USER}
        case "product":
            known = row | {"in_stock": _in_stock(row)}
            return {name: known[name].value for name in _PRODUCT}
        case _:
            lines = [{name: line[name].value for name in _ITEM} for line in fold.table("order_items")]
            return {name: lines if name == "items" else row[name].value for name in _ORDER}


def fields(stream: str, fold: Fold) -> list[Field]:
    """The members of the resource, in their order. A user has one more: `deleted_at`."""
    row = _row(stream, fold)
    match kind_of(stream):
        case "user":
            return [Field(name, *row[name]) for name in (*_USER, "deleted_at")]
        case "product":
            known = row | {"in_stock": _in_stock(row)}
            return [Field(name, *known[name]) for name in _PRODUCT]
        case _:
            return list(_fields_of_order(row, fold))


def is_deleted(fold: Fold) -> bool:
    """Whether it is a user who was deleted."""
    return any(row["deleted_at"].value is not None for row in fold.table("users"))


def _row(stream: str, fold: Fold) -> dict[str, Cell]:
    return next(fold.table(f"{kind_of(stream)}s"))


def _in_stock(row: dict[str, Cell]) -> Cell:
    stock, event = row["stock"]
    return Cell(stock is None or stock > 0, event)


def _fields_of_order(row: dict[str, Cell], fold: Fold) -> Iterator[Field]:
    for name in _ORDER:
        if name != "items":
            yield Field(name, *row[name])
            continue
        for line in fold.table("order_items"):
            number = line["line"].value
            fixed = {member: line[member].value for member in _ITEM if member != _CHANGING}
            yield Field(f"items.{number}", fixed, line["line"].event)
            yield Field(f"items.{number}.{_CHANGING}", *line[_CHANGING])
