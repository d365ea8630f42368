"""From folded rows to the resources that callers know: their members, and which event set each."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from contract.names import split
from contract.resources import OrderItemView, OrderView, ProductView, UserView
from timeline.folding import Cell, Fold, PastEvent, Place

_ITEM = tuple(OrderItemView.model_fields)
# The only member of a line that changes. In `fields` it is a field of its own.
_CHANGING = "cancelled_quantity"
_MEMBERS = {
    "user": (*UserView.model_fields, "deleted_at"),
    "product": tuple(ProductView.model_fields),
    "order": tuple(OrderView.model_fields),
}
_STREAM = re.compile(rf"({'|'.join(_MEMBERS)})-[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}", re.ASCII)
_NEVER_SHOWN = {"id", "version", "updated_at"}


class Field(NamedTuple):
    """A field's value, and the event that set it last.

    A line of an order is the field `items.<line>`, without the member that changes: `items.<line>.cancelled_quantity`.
    """

    name: str
    value: Any
    event: PastEvent

    def view(self) -> dict[str, Any]:
        """The field as GET answers it: contract.resources.ExplainedView."""
        event = self.event
        return {
            "field": self.name,
            "value": self.value,
            "version": event.version,
            "position": event.position,
            "type": event.type,
            "occurred_at": event.occurred_at,
            "recorded_at": event.recorded_at,
            "actor": event.actor,
            "request_id": event.request_id,
        }


def is_stream(text: str) -> bool:
    """Whether `text` is the name of a stream, which need not exist."""
    return _STREAM.fullmatch(text) is not None


def view(stream: str, fold: Fold) -> dict[str, Any]:
    kind, row = split(stream)[0], _row(stream, fold)
    lines = [{name: line[name].value for name in _ITEM} for line in fold.table("order_items")]
    members = (name for name in _MEMBERS[kind] if name != "deleted_at")
    return {name: lines if name == "items" else row[name].value for name in members}


def fields(stream: str, fold: Fold) -> list[Field]:
    """The members of the resource, in their order. A user has one more: `deleted_at`."""
    row, found = _row(stream, fold), list[Field]()
    for name in _MEMBERS[split(stream)[0]]:
        if name != "items":
            found.append(Field(name, *row[name]))
            continue
        for line in fold.table("order_items"):
            number = line["line"].value
            found.append(Field(f"items.{number}", _fixed(line), line["line"].event))
            found.append(Field(f"items.{number}.{_CHANGING}", *line[_CHANGING]))
    return found


def explanation(fields: Iterable[Field], name: str | None = None) -> list[dict[str, Any]]:
    """The fields as GET answers them. With `name` only that one and those below it: `items` has all `items.<line>`."""
    return [it.view() for it in fields if name is None or it.name == name or it.name.startswith(f"{name}.")]


class Change(NamedTuple):
    field: str
    before: Any
    after: Any


def changes(stream: str, fold: Fold) -> list[Change]:
    """The changes by the last event of the `fields` but `id`, `version` and `updated_at`."""
    found = [change for place in fold.before for change in _changes_of(stream, fold, place)]
    return [change for change in found if change.before != change.after]


def _changes_of(stream: str, fold: Fold, place: Place) -> Iterator[Change]:
    (table, _), row, before = place, fold.rows[place], fold.before[place]
    if table == "order_items":
        line = row["line"].value
        if before is None:
            yield Change(f"items.{line}", None, _fixed(row))
        elif _CHANGING in before:
            yield Change(f"items.{line}.{_CHANGING}", before[_CHANGING].value, row[_CHANGING].value)
        return
    for name in _MEMBERS[split(stream)[0]]:
        if name in row and name not in _NEVER_SHOWN and (before is None or name in before):
            yield Change(name, None if before is None else before[name].value, row[name].value)
    if "stock" in row and (before is None or "stock" in before):
        was = None if before is None else _in_stock(before).value
        yield Change("in_stock", was, _in_stock(row).value)


def is_deleted(fold: Fold) -> bool:
    return any(row["deleted_at"].value is not None for row in fold.table("users"))


def _row(stream: str, fold: Fold) -> dict[str, Cell]:
    row = next(fold.table(f"{split(stream)[0]}s"))
    return row | {"in_stock": _in_stock(row)} if "stock" in row else row


def _in_stock(row: dict[str, Cell]) -> Cell:
    stock, event = row["stock"]
    return Cell(stock is None or stock > 0, event)


def _fixed(line: dict[str, Cell]) -> dict[str, Any]:
    return {member: line[member].value for member in _ITEM if member != _CHANGING}


class Step(NamedTuple):
    """An event in words. `changes`: the fields whose values it changed."""

    event: PastEvent
    text: str
    changes: list[Change]

    def view(self) -> dict[str, Any]:
        """The step as GET answers it: contract.resources.StepView."""
        event = self.event
        return {
            "at": event.occurred_at,
            "version": event.version,
            "position": event.position,
            "type": event.type,
            "actor": event.actor,
            "text": self.text,
            "changes": [change._asdict() for change in self.changes],
        }


def step_of(fold: Fold, past: PastEvent) -> Step:
    """Fold one more event, and say what it did. Raises Unfoldable."""
    event = fold.apply(past)
    text = event.in_words() if event else "Skipped: the read tables leave it out"
    return Step(past, text, changes(fold.stream, fold))
