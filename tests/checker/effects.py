"""Whether what a command did is what it asked for: its events, held against its body and the state before them."""

from collections import Counter
from decimal import Decimal
from typing import Any

from tests.checker.fold import Fold, State
from tests.checker.history import Attempt, Command
from tests.checker.snapshot import Row, StoredEvent

# Every command has a first event of one of these types.
FIRST = {
    "register-user": {"UserRegistered"},
    "change-user": {"UserChanged"},
    "delete-user": {"UserDeleted"},
    "add-product": {"ProductAdded"},
    "change-product": {"ProductChanged", "ProductRepriced"},
    "discontinue-product": {"ProductDiscontinued"},
    "adjust-stock": {"StockAdjusted"},
    "place-order": {"OrderPlaced"},
    "cancel-order": {"OrderLinesCancelled", "OrderCancelled"},
}
# Members of the body that this event carries as they are. `wrong_effect` compares the other commands itself.
CARRIED: dict[str, tuple[str, ...]] = {
    "register-user": ("name", "email", "external_id"),
    "delete-user": (),
    "add-product": ("sku", "name", "price", "currency"),
    "discontinue-product": (),
    "adjust-stock": ("delta", "reason"),
}


def is_done(command: Command, attempt: Attempt, folded: Fold) -> bool:
    """Whether a command that appended nothing had nothing to do when it was acknowledged."""
    path = command.path.strip("/").split("/")
    if len(path) < 2:
        return False
    row = folded.state(f"{path[0].removesuffix('s')}-{path[1]}", attempt.position)
    if row is None:
        return False
    body = command.body or {}
    match command.kind:
        case "delete-user":
            return row["deleted_at"] is not None
        case "discontinue-product":
            return bool(row["discontinued"])
        case "change-user" | "change-product":
            return _differing(body, row, *body) is None
        case "cancel-order":
            return "lines" not in body and row["status"] == "cancelled"
    return False


def wrong_effect(command: Command, events: list[StoredEvent], folded: Fold) -> str | None:
    """What is wrong with the events of a command, or None."""
    first = events[0]
    if first.type not in FIRST[command.kind]:
        return f"it began with {first}"
    path = command.path.strip("/").split("/")
    if len(path) > 1 and first.stream != f"{path[0].removesuffix('s')}-{path[1]}":
        return f"it was about {first.stream}"
    body = command.body or {}
    match command.kind:
        case "place-order":
            return _placed(body, events, folded)
        case "cancel-order":
            return _cancelled(body, events, folded)
        case "add-product":
            stock = sum(event.data["delta"] for event in events[1:])
            if stock != (body.get("stock") or 0):
                return f"the stock began with {stock}"
        case "change-user" | "change-product":
            row = folded.state(first.stream, events[-1].position) or {}
            return _differing(body, row, *body)
    return _differing(body, first.data, *CARRIED[command.kind])


def _placed(body: dict[str, Any], events: list[StoredEvent], folded: Fold) -> str | None:
    placed = events[0].data
    wanted = [(item.get("product_id") or item["sku"], item["quantity"]) for item in body["items"]]
    by_id = ["product_id" in item for item in body["items"]]
    done = [
        (it["product_id" if known else "sku"], it["quantity"])
        for it, known in zip(placed["items"], by_id, strict=False)
    ]
    if len(placed["items"]) != len(wanted) or done != wanted:
        return f"it ordered {done}"
    for item in placed["items"]:
        product = folded.state(f"product-{item['product_id']}", events[0].position)
        if product is None or any(
            item[name] != product[now] for name, now in (("unit_price", "price"), ("name", "name"), ("sku", "sku"))
        ):
            return f"line {item['line']} is not the product as it was then"
    return _moved("StockReserved", _pieces(placed["items"], "quantity", folded), events) or _differing(
        body, placed, "user_id", "external_id", "note"
    )


def _cancelled(body: dict[str, Any], events: list[StoredEvent], folded: Fold) -> str | None:
    first = events[0]
    before = folded.state(first.stream, first.position - 1)
    if before is None:
        return "there was no such order"
    done = {line["line"]: line["quantity"] for line in first.data["lines"]}
    if "lines" in body:
        wanted: Counter[int] = Counter()
        for line in body["lines"]:
            wanted[line["line"]] += line["quantity"]
    else:
        left = {item["line"]: item["quantity"] - item["cancelled_quantity"] for item in before["items"]}
        wanted = Counter({line: quantity for line, quantity in left.items() if quantity})
    if done != wanted:
        return f"it cancelled {done}, not {dict(wanted)}"
    lines = [item | {"now": done.get(item["line"], 0)} for item in before["items"]]
    return _moved("StockReleased", _pieces(lines, "now", folded), events) or _differing(body, first.data, "reason")


def _pieces(lines: list[Row], column: str, folded: Fold) -> Counter[str]:
    """How many pieces of each product kept in stock."""
    pieces: Counter[str] = Counter()
    for line in lines:
        stream = f"product-{line['product_id']}"
        states: list[State] = folded.streams.get(stream, [])
        if line[column] and states and states[0].row["stock"] is not None:
            pieces[stream] += line[column]
    return pieces


def _moved(kind: str, wanted: Counter[str], events: list[StoredEvent]) -> str | None:
    moved = Counter({event.stream: event.data["quantity"] for event in events[1:] if event.type == kind})
    if len(events) != len(wanted) + 1 or moved != wanted:
        return f"it moved the stock of {dict(moved)}, not of {dict(wanted)}"
    return None


def _differing(body: dict[str, Any], done: Row, *names: str) -> str | None:
    wrong = [name for name in names if not _same(name, done[name], body.get(name))]
    return ", ".join(f"{name} {done[name]!r} instead of {body.get(name)!r}" for name in wrong) or None


def _same(name: str, done: object, asked: object) -> bool:
    """A price may be asked for in other words: 2.5 is "2.50"."""
    return Decimal(str(done)) == Decimal(str(asked)) if name == "price" else done == asked
