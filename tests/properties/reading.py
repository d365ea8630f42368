"""What reads must answer when the read tables hold what a model holds."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from tests.properties.model import Json, Model, Problem

_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "gte": lambda value, bound: value >= bound,
    "gt": lambda value, bound: value > bound,
    "lte": lambda value, bound: value <= bound,
    "lt": lambda value, bound: value < bound,
}


def single(model: Model, path: str) -> Json | Problem:
    """What GET of a resource answers."""
    kind, id_ = path.strip("/").split("/")
    if id_ in model.deleted:
        return Problem(410, "gone")
    return _all(model, kind).get(id_) or Problem(404, "not-found")


def listed(model: Model, path: str, sort: str, filters: Mapping[str, str]) -> list[Json] | Problem:
    """All that GET of a list answers, over all its pages; `filters` are query parameters as they are sent."""
    owner, _, kind = path.strip("/").rpartition("/")
    if owner and owner.removeprefix("users/") not in {*model.users, *model.deleted}:
        return Problem(404, "not-found")
    own = {"user_id": owner.removeprefix("users/")} if owner else {}
    resources = [
        resource
        for resource in _all(model, kind).values()
        if all(_matches(resource, name, value) for name, value in {**filters, **own}.items())
    ]
    column = sort.removeprefix("-")
    return sorted(resources, key=lambda it: (_value(column, it[column]), it["id"]), reverse=sort.startswith("-"))


def _all(model: Model, kind: str) -> dict[str, Json]:
    return {"users": model.users, "products": model.products, "orders": model.orders}[kind]


def _matches(resource: Json, name: str, value: str) -> bool:
    name, _, compared = name.rstrip("]").partition("[")
    match name:
        case "in_stock" | "discontinued":
            return bool(resource[name]) == (value == "true")
        case "email":
            return bool(resource["email"].lower() == value.lower())
        case "product_id":
            return any(line["product_id"] == value for line in resource["items"])
    if compared:
        return _COMPARED[compared](_value(name, resource[name]), _value(name, value))
    return bool(resource[name] == value)


def _value(column: str, shown: str) -> Any:
    """What is compared: amounts and times by their value, texts by their code points."""
    if column in {"price", "total"}:
        return Decimal(shown)
    if column.endswith("_at"):
        return datetime.fromisoformat(shown)
    return shown
