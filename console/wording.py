"""What an event says, in a line for people."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from console.words import counted, short

_MANY_LINES = 3


def sentence(type_name: str, data: str | None) -> str:
    """The event in a line. Without its data, or for a type that is not known: nothing."""
    tell = _TOLD.get(type_name)
    if tell is None or data is None:
        return ""
    try:
        return short(tell(msgspec.json.decode(data)))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
        return ""  # an event of another shape than this release writes


def _placed(it: Mapping[str, Any]) -> str:
    told = [counted(len(it["items"]), "line"), f"{it['total']} {it['currency']}"]
    return " · ".join([*told, *([it["external_id"]] if it["external_id"] else [])])


def _cancelled(it: Mapping[str, Any]) -> str:
    told = [f"{counted(len(it['lines']), 'line')} cancelled", f"{it['amount']} {it['currency']}"]
    return " · ".join([*told, *([f"“{it['reason']}”"] if it["reason"] else [])])


def _stock(it: Mapping[str, Any], change: int) -> str:
    return f"{change:+,} → {it['stock_after']:,} in stock"


_TOLD: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "OrderPlaced": _placed,
    "OrderLinesCancelled": _cancelled,
    "OrderCancelled": _cancelled,
    "ProductAdded": lambda it: f"{it['sku']} · {it['name']} · {it['price']} {it['currency']}",
    "ProductChanged": lambda it: it["name"],
    "ProductRepriced": lambda it: f"now {it['price']}",
    "ProductDiscontinued": lambda _: "no longer sold",
    "StockAdjusted": lambda it: f"{_stock(it, it['delta'])} · “{it['reason']}”",
    "StockReserved": lambda it: _stock(it, -it["quantity"]),
    "StockReleased": lambda it: _stock(it, it["quantity"]),
    "UserRegistered": lambda it: f"{it['name']}",
    "UserChanged": lambda it: "changed " + ", ".join(name for name, value in it.items() if value is not None),
    "UserDeleted": lambda _: "deleted",
}
