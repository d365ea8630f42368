"""Invariants of every log: its order, its stock, its sums, and the tables kept beside it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from tests.checker.fold import Fold, view
from tests.checker.snapshot import Row, Snapshot, StoredEvent

STOCK_EVENTS = {"StockAdjusted", "StockReserved", "StockReleased"}
CANCELLATIONS = {"OrderLinesCancelled": "partially_cancelled", "OrderCancelled": "cancelled"}


def log_findings(taken: Snapshot, folded: Fold) -> Iterator[str]:
    """Everything that is wrong with the log itself, a line each."""
    yield from _order(taken)
    yield from folded.findings
    for event in taken.events:
        if event.type in STOCK_EVENTS:
            yield from _stock(event, folded)
        elif event.type == "OrderPlaced":
            yield from _amounts(event, folded)
        elif event.type in CANCELLATIONS:
            yield from _cancellation(event, folded)
    yield from _movements(taken.events, folded)
    yield from _claims(taken, folded)
    yield from _kept_answers(taken, folded)
    yield from _snapshots(taken.snapshots, folded)


def _order(taken: Snapshot) -> Iterator[str]:
    positions = [event.position for event in taken.events]
    for before, after in pairwise([0, *positions]):
        if after == before:
            yield f"position {after} stands in the log twice"
        elif after != before + 1:
            yield f"a hole in the log: {before} is followed by {after}"
    if taken.head != len(positions):
        yield f"the head is {taken.head}, the log has {len(positions)} events"
    versions: Counter[str] = Counter()
    recorded: datetime | None = None
    for event in taken.events:
        versions[event.stream] += 1
        if event.version != versions[event.stream]:
            yield f"{event} is number {versions[event.stream]} of its stream"
        if recorded is not None and event.recorded_at < recorded:
            yield f"{event} was recorded before the one in front of it"
        recorded = event.recorded_at


def _stock(event: StoredEvent, folded: Fold) -> Iterator[str]:
    row = folded.state(event.stream, event.position)
    if row is None or row["stock"] is None:
        yield f"{event} moves a stock that is not kept"
        return
    if event.data["stock_after"] != row["stock"]:
        yield f"{event} says that {event.data['stock_after']} are left, its stream adds up to {row['stock']}"
    if min(row["stock"], event.data["stock_after"]) < 0:
        yield f"{event} leaves a negative stock"


def _amounts(event: StoredEvent, folded: Fold) -> Iterator[str]:
    row = folded.version(event.stream, event.version)
    if row is None:
        return
    if event.data["total"] != row["total"]:
        yield f"{event} has the total {event.data['total']}, its lines come to {row['total']}"
    for said, item in zip(event.data["items"], row["items"], strict=True):
        if said["amount"] != item["amount"]:
            yield f"{event} has the amount {said['amount']} in line {item['line']} instead of {item['amount']}"
    lines = [item["line"] for item in row["items"]]
    if lines != list(range(1, len(lines) + 1)):
        yield f"{event} has the lines {lines}"


def _cancellation(event: StoredEvent, folded: Fold) -> Iterator[str]:
    before = folded.state(event.stream, event.position - 1)
    row = folded.state(event.stream, event.position)
    if before is None or row is None or row is before:
        return
    if CANCELLATIONS[event.type] != row["status"]:
        yield f"{event} leaves the order {row['status']}"
    if event.data["cancelled_total_after"] != row["cancelled_total"]:
        yield (
            f"{event} has cancelled {event.data['cancelled_total_after']} in all, "
            f"its lines come to {row['cancelled_total']}"
        )
    if Decimal(event.data["amount"]) != Decimal(row["cancelled_total"]) - Decimal(before["cancelled_total"]):
        yield f"{event} has the amount {event.data['amount']}, its lines come to another"
    items = {item["line"]: item for item in row["items"]}
    for line in event.data["lines"]:
        item = items[line["line"]]
        if line["cancelled_after"] != item["cancelled_quantity"]:
            yield f"{event} says that {line['cancelled_after']} of line {item['line']} are cancelled, not what adds up"
        if item["cancelled_quantity"] > item["quantity"]:
            yield f"{event} cancels more of line {item['line']} than was ordered"


def _movements(events: Iterable[StoredEvent], folded: Fold) -> Iterator[str]:
    """Every piece ordered was taken from stock once, and every piece cancelled came back once."""
    moved: dict[str, Counter[tuple[str, str]]] = {"StockReserved": Counter(), "StockReleased": Counter()}
    for event in events:
        if event.type in moved:
            moved[event.type][event.data["order_id"], event.stream] += event.data["quantity"]
    wanted: dict[str, Counter[tuple[str, str]]] = {"StockReserved": Counter(), "StockReleased": Counter()}
    for stream in folded.streams_of("order"):
        order = folded.state(stream)
        assert order is not None
        for item in order["items"]:
            product = folded.state(f"product-{item['product_id']}")
            if product is not None and product["stock"] is not None:
                place = order["id"], f"product-{item['product_id']}"
                wanted["StockReserved"][place] += item["quantity"]
                wanted["StockReleased"][place] += item["cancelled_quantity"]
    for kind, verb in (("StockReserved", "ordered"), ("StockReleased", "cancelled")):
        for order_id, product in sorted(moved[kind].keys() | wanted[kind].keys()):
            was, should = moved[kind][order_id, product], wanted[kind][order_id, product]
            if was != should:
                yield f"order-{order_id} has {should} of {product} {verb}, {kind} tells of {was}"


def _claims(taken: Snapshot, folded: Fold) -> Iterator[str]:
    wanted: dict[str, str] = {}
    for claim, stream in _claimed(taken.events, folded):
        if claim in wanted:
            yield f"{claim} belongs to {wanted[claim]} and to {stream}"
        wanted[claim] = stream
    for claim in sorted(taken.claims.keys() | wanted.keys()):
        if taken.claims.get(claim) != wanted.get(claim):
            yield f"{claim} is claimed by {taken.claims.get(claim)}, the log gives it to {wanted.get(claim)}"


def _claimed(events: Iterable[StoredEvent], folded: Fold) -> Iterator[tuple[str, str]]:
    for stream in folded.streams:
        row = folded.state(stream)
        assert row is not None
        match stream.partition("-")[0]:
            case "user" if row["deleted_at"] is None:
                yield f"email:{row['email'].lower()}", stream
                if row["external_id"] is not None:
                    yield f"user:{row['external_id']}", stream
            case "product":
                yield f"sku:{row['sku']}", stream
            case "order" if row["external_id"] is not None:
                yield f"order:{row['external_id']}", stream
    for event in events:
        if event.type in CANCELLATIONS and event.data["external_id"] is not None:
            yield f"cancellation:{event.data['external_id']}", event.stream


def _kept_answers(taken: Snapshot, folded: Fold) -> Iterator[str]:
    for kept in taken.keys:
        if kept["position"] > taken.head:
            yield f"the key {kept['key']} answers with position {kept['position']}, behind the head"
        if kept["location"] is None or kept["version"] is None:
            continue
        kind, _, resource = kept["location"].strip("/").partition("/")
        if folded.version(f"{kind.removesuffix('s')}-{resource}", kept["version"]) is None:
            yield f"the key {kept['key']} answers with version {kept['version']} of {kept['location']}: not in the log"


def _snapshots(snapshots: Iterable[Row], folded: Fold) -> Iterator[str]:
    """What the write side may start a stream from says what the events before it say."""
    for snapshot in snapshots:
        stream, version = snapshot["stream"], snapshot["version"]
        row = folded.version(stream, version)
        if row is None:
            yield f"the snapshot of {stream} is of version {version}: not in the log"
            continue
        shown = view(stream.partition("-")[0], row)
        wrong = [name for name in shown.keys() & snapshot["state"].keys() if snapshot["state"][name] != shown[name]]
        if wrong:
            yield f"the snapshot of {stream} at version {version} has not its events' {', '.join(sorted(wrong))}"
