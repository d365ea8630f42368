"""Provoke each kind of finding: alter one thing in a healthy log or record; the checker reports it."""

import copy
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from projector.follower import Follower
from projector.projections.shop import SHOP
from tests.builders import LONG_AGO
from tests.checker.check import findings_of
from tests.checker.effects import FIRST
from tests.checker.history import KINDS, Attempt, Command, History, Outcome
from tests.checker.shopper import Shopper
from tests.checker.snapshot import Snapshot, StoredEvent
from tests.openapi import COMMANDS
from tests.served import served

Told = tuple[Snapshot, History]
Alteration = Callable[[Snapshot, History], Snapshot]


@pytest.fixture(scope="module")
def healthy(module_database_url: str) -> Told:
    history = History()
    with served(module_database_url) as shop, Shopper(history, str(shop.http.base_url)) as shopper:
        user = shopper.once("POST", "/users", {"name": "Ada", "email": "ada@example.org", "external_id": "ada"}).body
        tea = {"sku": "tea", "name": "Tea", "price": "2.50", "currency": "EUR", "stock": 100}
        product = shopper.once("POST", "/products", tea).body
        wanted = {"user_id": user["id"], "items": [{"product_id": product["id"], "quantity": 3}]}
        order = shopper.once("POST", "/orders", wanted | {"external_id": "x"}, key="k").body
        shopper.once("POST", f"/orders/{order['id']}/cancel", {"lines": [{"line": 1, "quantity": 1}]})
        for _ in range(30):
            shopper.once("POST", f"/products/{product['id']}/stock", {"delta": 1, "reason": "counted"})
        assert shopper.once("POST", "/orders", wanted | {"external_id": "x"}).outcome is Outcome.REJECTED
        with closing(Follower(module_database_url, SHOP)) as projector:
            projector.catch_up()
        shopper.read(f"/orders/{order['id']}")
    taken = Snapshot.take(module_database_url)
    assert not findings_of(taken, history)
    return taken, history


def event(change: Callable[[StoredEvent], StoredEvent | None], type_name: str) -> Alteration:
    """The log with the first event of a type changed, or without it."""

    def alter(taken: Snapshot, _: History) -> Snapshot:
        number = next(number for number, it in enumerate(taken.events) if it.type == type_name)
        changed = change(taken.events[number])
        return replace(taken, events=taken.events[:number] + [changed] * bool(changed) + taken.events[number + 1 :])

    return alter


def data(type_name: str, **changes: Any) -> Alteration:
    return event(lambda it: it._replace(data=it.data | changes), type_name)


def attempt(tag: str, change: Callable[[Attempt], Attempt]) -> Alteration:
    """The record with the answer to a command changed."""

    def alter(taken: Snapshot, history: History) -> Snapshot:
        attempts = history.commands[tag].attempts
        attempts[:] = [change(it) for it in attempts]
        return taken

    return alter


def kept(table: str, row: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Alteration:
    """A table of the log or of the read side with its first row changed, or without it."""

    def alter(taken: Snapshot, _: History) -> Snapshot:
        rows: list[dict[str, Any]] = getattr(taken, table, None) or taken.tables[table]
        changed = row(rows[0])
        rows[:1] = [changed] if changed else []
        return taken

    return alter


def read_late(taken: Snapshot, history: History) -> Snapshot:
    history.reads[:] = [replace(it, version=it.version - 1) for it in history.reads]
    return taken


def asked_for_more(taken: Snapshot, history: History) -> Snapshot:
    history.commands["place-order-3"].body["items"][0]["quantity"] = 4  # type: ignore[index]
    return taken


def unsent(taken: Snapshot, history: History) -> Snapshot:
    del history.commands["add-product-2"]
    return taken


def acknowledged_only(taken: Snapshot, history: History) -> Snapshot:
    """A command of which there is an answer and nothing else."""
    path = history.commands["cancel-order-4"].path
    (answer,) = history.commands["cancel-order-4"].attempts
    history.commands["new"] = Command("new", "cancel-order", "POST", path, {"lines": []}, None, [answer])
    return taken


def refused_when_repeated(taken: Snapshot, history: History) -> Snapshot:
    """Nobody knew what became of it, and the repetition under its key was refused, although it had been done."""
    attempts = history.commands["place-order-3"].attempts
    unheard = replace(attempts[0], outcome=Outcome.UNKNOWN, status=None, headers={}, body=None)
    sent_at = unheard.ended_at + 1
    refused = Attempt(sent_at, sent_at + 1, Outcome.REJECTED, 409, "insufficient-stock")
    attempts[:] = [unheard, refused]
    return taken


def answer_header(name: str, value: str) -> Callable[[Attempt], Attempt]:
    return lambda it: replace(it, headers={**it.headers, name: value})


def sent_later(it: Attempt) -> Attempt:
    return replace(it, sent_at=it.sent_at + 1_000, ended_at=it.ended_at + 1_000)


ALTERATIONS: dict[str, Alteration] = {
    "a hole in the log": event(lambda _: None, "StockReleased"),
    "stands in the log twice": event(lambda it: it._replace(position=it.position - 1), "StockReleased"),
    "is number 2 of its stream": event(lambda it: it._replace(version=3), "StockAdjusted"),
    "recorded before the one in front": event(lambda it: it._replace(recorded_at=LONG_AGO), "OrderPlaced"),
    "the head is": lambda taken, _: replace(taken, head=taken.head + 1),
    "are left, its stream adds up to": data("StockReserved", stock_after=96),
    "leaves a negative stock": data("StockReserved", stock_after=-1),
    "has the total 7.51": data("OrderPlaced", total="7.51"),
    "leaves the order partially_cancelled": event(lambda it: it._replace(type="OrderCancelled"), "OrderLinesCancelled"),
    "has cancelled 2.51 in all": data("OrderLinesCancelled", cancelled_total_after="2.51"),
    "StockReleased tells of 2": data("StockReleased", quantity=2),
    "does not fit what came before": event(lambda it: it._replace(type="UserDeleted"), "UserRegistered"),
    "sku:tea is claimed by order-1": lambda taken, _: replace(taken, claims=taken.claims | {"sku:tea": "order-1"}),
    "the log gives it to None": lambda taken, _: replace(taken, claims=taken.claims | {"order:y": "order-1"}),
    "the key k of place-order-3 (place-order) was acknowledged and is not kept": kept("keys", lambda _: None),
    "keeps another answer than was given": kept("keys", lambda row: row | {"body": b"{}"}),
    "not in the log": kept("keys", lambda row: row | {"version": 7}),
    "has not its events' stock": kept("snapshots", lambda row: row | {"state": row["state"] | {"stock": 1}}),
    "nobody asked for": unsent,
    "doubled: place-order-3": event(lambda it: it._replace(metadata=it.metadata | {"command_id": "2"}), "OrderPlaced"),
    "rejected but there: place-order-3": attempt("place-order-3", lambda it: replace(it, outcome=Outcome.REJECTED)),
    "had been done when its repetition was refused": refused_when_repeated,
    "lost: new": acknowledged_only,
    "was sent after": attempt("place-order-3", sent_later),
    "was answered with version 2 of": attempt("place-order-3", answer_header("etag", '"2"')),
    "was answered with another state": attempt(
        "place-order-3", lambda it: replace(it, body=it.body | {"total": "7.51"})
    ),
    "was answered with position 1": attempt("place-order-3", answer_header("sync-token", "1")),
    "did something else than was asked for": asked_for_more,
    "had version 1, not 2": read_late,
    "shop.orders has no row": kept("orders", lambda _: None),
    "which the log does not have": kept("order_items", lambda row: row | {"line": 2}),
    "shop.products": kept("products", lambda row: row | {"stock": 1}),
    "the checkpoint is": lambda taken, _: replace(taken, checkpoint=taken.head + 1),
}


@pytest.mark.parametrize(("expected", "alter"), ALTERATIONS.items(), ids=list(ALTERATIONS))
def test_the_checker_finds_each_alteration(expected: str, alter: Alteration, healthy: Told) -> None:
    taken, history = copy.deepcopy(healthy[0]), History()
    history.commands = copy.deepcopy(healthy[1].commands)
    history.reads = list(healthy[1].reads)
    found = findings_of(alter(taken, history), history)
    assert any(expected in finding for finding in found), found


def test_the_checker_knows_every_command_of_the_document() -> None:
    assert sorted((method, pattern.replace("[^/]+", "{id}")) for method, pattern, _ in KINDS) == COMMANDS
    assert {kind for *_, kind in KINDS} == FIRST.keys(), "FIRST of tests/checker/effects.py"
