"""Fold the log independently: every stream's state after each of its events.

Written from docs/events.md and from nothing else of the service, so that a fault in its own folds cannot hide here.
Sums are added up from quantities and prices; the sums that events carry are left for the invariants to compare.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from unicodedata import normalize

from tests.checker.snapshot import Row, StoredEvent


class State(NamedTuple):
    """A stream's row of the read tables after the event at `position`, with an order's items under "items"."""

    position: int
    row: Row


@dataclass
class Fold:
    """The states of each stream, oldest first; `findings` are events that make no sense where they stand."""

    streams: dict[str, list[State]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def state(self, stream: str, position: int | None = None) -> Row | None:
        """The stream's last state, or the one that it had at `position`."""
        states = self.streams.get(stream, [])
        count = len(states) if position is None else bisect_right(states, position, key=lambda state: state.position)
        return states[count - 1].row if count else None

    def version(self, stream: str, version: int) -> Row | None:
        """The stream's state after `version` events."""
        states = self.streams.get(stream, [])
        # Where it belongs, unless versions are missing or double.
        if 0 < version <= len(states) and states[version - 1].row["version"] == version:
            return states[version - 1].row
        return next((row for _, row in states if row["version"] == version), None)

    def streams_of(self, kind: str) -> Iterable[str]:
        return (stream for stream in self.streams if stream.startswith(f"{kind}-"))


def fold(events: Iterable[StoredEvent]) -> Fold:
    folded = Fold()
    for event in events:
        if event.stream.startswith("operator-"):
            continue  # an act of an operator: nothing of the shop changes
        before = folded.state(event.stream)
        try:
            after = _APPLY[event.type](event.data, before, event)
        except (KeyError, TypeError, StopIteration, ArithmeticError) as error:
            folded.findings.append(f"{event} does not fit what came before: {type(error).__name__}: {error}")
            continue
        row = after | {"version": event.version, "updated_at": event.occurred_at}
        folded.streams.setdefault(event.stream, []).append(State(event.position, row))
    return folded


def money(amount: Decimal) -> str:
    """At least two decimals, and no others than needed."""
    places = max(2, -int(amount.normalize().as_tuple().exponent))
    return f"{amount:.{places}f}"


def view(kind: str, row: Row) -> dict[str, Any]:
    """The resource as the API shows it."""
    shown = {name: _shown(value) for name, value in row.items() if name not in {"items", "deleted_at", "email_key"}}
    if kind == "product":
        shown["in_stock"] = row["stock"] is None or row["stock"] > 0
    if kind == "order":
        shown["items"] = [dict(item) for item in row["items"]]
    return shown


def _shown(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return value


def _registered(data: Row, before: Row | None, event: StoredEvent) -> Row:
    return _first(before, event) | {
        "external_id": data["external_id"],
        "name": data["name"],
        "email": data["email"],
        "email_key": _folded(data["email"]),
        "created_at": event.occurred_at,
        "deleted_at": None,
    }


def _changed(data: Row, before: Row | None, event: StoredEvent) -> Row:
    changed = {name: data[name] for name in ("name", "email") if data.get(name) is not None}
    if "email" in changed:
        changed["email_key"] = _folded(changed["email"])
    return _later(before) | changed


def _folded(address: str) -> str:
    """The address without regard to case."""
    return normalize("NFC", normalize("NFC", address).casefold())


def _deleted(data: Row, before: Row | None, event: StoredEvent) -> Row:
    return _later(before) | {"deleted_at": event.occurred_at}


def _added(data: Row, before: Row | None, event: StoredEvent) -> Row:
    return _first(before, event) | {
        "sku": data["sku"],
        "name": data["name"],
        "price": data["price"],
        "currency": data["currency"],
        "stock": 0 if data["stock_kept"] else None,
        "discontinued": False,
        "created_at": event.occurred_at,
    }


def _renamed(data: Row, before: Row | None, event: StoredEvent) -> Row:
    return _later(before) | {"name": data["name"]}


def _repriced(data: Row, before: Row | None, event: StoredEvent) -> Row:
    return _later(before) | {"price": data["price"]}


def _discontinued(data: Row, before: Row | None, event: StoredEvent) -> Row:
    return _later(before) | {"discontinued": True}


def _adjusted(data: Row, before: Row | None, event: StoredEvent) -> Row:
    return _later(before) | {"stock": _later(before)["stock"] + data["delta"]}


def _reserved(data: Row, before: Row | None, event: StoredEvent) -> Row:
    return _later(before) | {"stock": _later(before)["stock"] - data["quantity"]}


def _released(data: Row, before: Row | None, event: StoredEvent) -> Row:
    return _later(before) | {"stock": _later(before)["stock"] + data["quantity"]}


def _placed(data: Row, before: Row | None, event: StoredEvent) -> Row:
    copied = ("line", "product_id", "sku", "name", "quantity", "unit_price")
    items = [
        {name: item[name] for name in copied}
        | {"cancelled_quantity": 0, "amount": money(item["quantity"] * Decimal(item["unit_price"]))}
        for item in data["items"]
    ]
    return _first(before, event) | {
        "external_id": data["external_id"],
        "user_id": data["user_id"],
        "status": "placed",
        "currency": data["currency"],
        "total": money(sum((Decimal(item["amount"]) for item in items), Decimal(0))),
        "cancelled_total": "0.00",
        "items": items,
        "note": data["note"],
        "cancel_reason": None,
        "placed_at": event.occurred_at,
        "cancelled_at": None,
    }


def _cancelled(data: Row, before: Row | None, event: StoredEvent) -> Row:
    order = _later(before)
    items = {item["line"]: dict(item) for item in order["items"]}
    for line in data["lines"]:
        items[line["line"]]["cancelled_quantity"] += line["quantity"]
    worth = sum((item["cancelled_quantity"] * Decimal(item["unit_price"]) for item in items.values()), Decimal(0))
    left = any(item["cancelled_quantity"] < item["quantity"] for item in items.values())
    return order | {
        "status": "partially_cancelled" if left else "cancelled",
        "cancelled_total": money(worth),
        "items": list(items.values()),
        "cancel_reason": order["cancel_reason"] if data["reason"] is None else data["reason"],
        "cancelled_at": None if left else event.occurred_at,
    }


def _first(before: Row | None, event: StoredEvent) -> Row:
    if before is not None:
        raise TypeError("a stream begins only once")
    return {"id": event.stream.partition("-")[2]}


def _later(before: Row | None) -> Row:
    if before is None:
        raise TypeError("the stream has not begun")
    return before


_APPLY = {
    "UserRegistered": _registered,
    "UserChanged": _changed,
    "UserDeleted": _deleted,
    "ProductAdded": _added,
    "ProductChanged": _renamed,
    "ProductRepriced": _repriced,
    "ProductDiscontinued": _discontinued,
    "StockAdjusted": _adjusted,
    "StockReserved": _reserved,
    "StockReleased": _released,
    "OrderPlaced": _placed,
    "OrderLinesCancelled": _cancelled,
    "OrderCancelled": _cancelled,
}
