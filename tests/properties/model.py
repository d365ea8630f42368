"""The shop of the contract, in memory: what each request must be answered, and what happens because of it.

Written from docs/http.md, docs/errors.md and docs/events.md, not from the code: the second, independent statement of
what the service does. Resources are the JSON that the API shows. Ids and times are the service's own choice; they come
in as `Made`. Where several things are wrong with one request, the contract leaves open which one the answer names:
a refusal here is all of them.
"""

import copy
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Json = dict[str, Any]

STOCK_MAX = 10**12


@dataclass(frozen=True)
class Made:
    """What the service chose: the id of a new resource, and the time."""

    id: str
    at: str


@dataclass(frozen=True)
class Done:
    """An answer with the resource as it then is (None: 204 without a body), and the events: (resource's path, type)."""

    status: int
    resource: Json | None = None
    events: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Problem:
    """A reason to refuse, as the problem document tells it; `facts` are its further members."""

    status: int
    code: str
    facts: Json = field(default_factory=dict)
    location: str | None = None


@dataclass(frozen=True)
class Refused:
    """Any of these is the right answer. Nothing happens."""

    problems: tuple[Problem, ...]


Answer = Done | Refused


def money(amount: Decimal) -> str:
    """At least two decimals, and no others than needed."""
    whole, _, decimals = f"{amount:.4f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


class Model:
    """All that the service knows, as its requests left it."""

    def __init__(self) -> None:
        self.users: dict[str, Json] = {}
        self.deleted: dict[str, Json] = {}
        self.products: dict[str, Json] = {}
        self.orders: dict[str, Json] = {}
        self.position = 0
        # Which Idempotency-Key was sent with which request.
        self.kept: dict[str, str] = {}

    def copy(self) -> "Model":
        return copy.deepcopy(self)

    def request(
        self, method: str, path: str, body: Json | None, made: Made, *, key: str | None, match: int | None
    ) -> Answer | None:
        """Do what a request asks for; None when its Idempotency-Key has an answer already, which is to come again."""
        this = json.dumps([method, path, body], sort_keys=True)
        if key is not None and key in self.kept:
            return None if self.kept[key] == this else _refused(422, "idempotency-key-reused")
        answer = self._decide(method, path, body or {}, made, match)
        if isinstance(answer, Refused):
            return answer
        self.position += len(answer.events)
        if key is not None:
            self.kept[key] = this
        return answer

    def _decide(  # noqa: C901 - a case for each request of the contract
        self, method: str, path: str, body: Json, made: Made, match: int | None
    ) -> Answer:
        kind, id_, action = (*path.strip("/").split("/"), "", "")[:3]
        match (method, kind, action):
            case ("POST", "users", ""):
                return self.register(body, made)
            case ("PUT", "users", ""):
                return self._on(self.users, id_, match, lambda user: self.change_user(user, body, made.at))
            case ("DELETE", "users", ""):
                return Done(204) if id_ in self.deleted else self._on(self.users, id_, match, self.delete_user)
            case ("POST", "products", ""):
                return self.add(body, made)
            case ("PUT", "products", ""):
                return self._on(self.products, id_, match, lambda product: change_product(product, body, made.at))
            case ("DELETE", "products", ""):
                # Done already is done, whichever version was expected.
                if id_ in self.products and self.products[id_]["discontinued"]:
                    return Done(204)
                return self._on(self.products, id_, match, lambda product: discontinue(product, made.at))
            case ("POST", "products", "stock"):
                return self._on(self.products, id_, match, lambda product: adjust_stock(product, body, made.at))
            case ("POST", "orders", ""):
                return self.place(body, made)
            case ("POST", "orders", "cancel"):
                if id_ in self.orders and self.orders[id_]["status"] == "cancelled" and body.get("lines") is None:
                    return Done(200, self.orders[id_])
                return self._on(self.orders, id_, match, lambda order: self.cancel(order, body, made.at))
        raise AssertionError(f"the contract has no {method} {path}")

    def _on(self, those: Mapping[str, Json], id_: str, match: int | None, act: Callable[[Json], Answer]) -> Answer:
        """Act on a resource that is there and has the version that is expected of it."""
        if id_ in self.deleted:
            return _refused(410, "gone")
        if id_ not in those:
            return _refused(404, "not-found")
        if match is not None and match != those[id_]["version"]:
            return _refused(412, "version-mismatch")
        return act(those[id_])

    # Users

    def register(self, body: Json, made: Made) -> Answer:
        problems = self._email_taken(body["email"], by_other_than=None)
        external_id = body.get("external_id")
        problems += _taken(self.users.values(), "external_id", external_id, "/users", "duplicate-external-id")
        if problems:
            return Refused(tuple(problems))
        self.users[made.id] = user = {
            "id": made.id,
            "name": body["name"],
            "email": body["email"],
            "external_id": external_id,
            "version": 1,
            "created_at": made.at,
            "updated_at": made.at,
        }
        return Done(201, user, ((f"/users/{made.id}", "UserRegistered"),))

    def change_user(self, user: Json, body: Json, at: str) -> Answer:
        if problems := self._email_taken(body["email"], by_other_than=user["id"]):
            return Refused(tuple(problems))
        if (user["name"], user["email"]) == (body["name"], body["email"]):
            return Done(200, user)
        user |= {"name": body["name"], "email": body["email"]}
        return Done(200, user, _happened("/users", user, at, "UserChanged"))

    def delete_user(self, user: Json) -> Answer:
        """Its address and external_id are free again."""
        self.deleted[user["id"]] = self.users.pop(user["id"])
        return Done(204, None, ((f"/users/{user['id']}", "UserDeleted"),))

    def _email_taken(self, email: str, by_other_than: str | None) -> list[Problem]:
        others = [user["email"].lower() for user in self.users.values() if user["id"] != by_other_than]
        return [Problem(409, "email-taken")] if email.lower() in others else []

    # Products

    def add(self, body: Json, made: Made) -> Answer:
        if problems := _taken(self.products.values(), "sku", body["sku"], "/products", "sku-taken"):
            return Refused(tuple(problems))
        stock = body.get("stock", 0)
        events = ["ProductAdded"] + ["StockAdjusted"] * bool(stock)
        self.products[made.id] = product = {
            "id": made.id,
            "sku": body["sku"],
            "name": body["name"],
            "price": money(Decimal(body["price"])),
            "currency": body["currency"],
            "stock": stock,
            "in_stock": stock is None or stock > 0,
            "discontinued": False,
            "version": 0,
            "created_at": made.at,
            "updated_at": made.at,
        }
        return Done(201, product, _happened("/products", product, made.at, *events))

    # Orders

    def place(self, body: Json, made: Made) -> Answer:
        items, external_id = body["items"], body.get("external_id")
        problems = _taken(self.orders.values(), "external_id", external_id, "/orders", "duplicate-external-id")
        if body["user_id"] not in self.users:
            problems.append(Problem(422, "unknown-user", {"errors": ["/user_id"]}))
        products = [self._wanted(item) for item in items]
        if unknown := [f"/items/{index}" for index, product in enumerate(products) if product is None]:
            return Refused((*problems, Problem(422, "unknown-product", {"errors": unknown})))
        wanted = [(item, product) for item, product in zip(items, products, strict=True) if product is not None]
        problems += _not_to_be_had(wanted)
        if problems:
            return Refused(tuple(problems))

        lines = [
            {
                "line": number,
                "product_id": product["id"],
                "sku": product["sku"],
                "name": product["name"],
                "quantity": item["quantity"],
                "cancelled_quantity": 0,
                "unit_price": product["price"],
                "amount": money(item["quantity"] * Decimal(product["price"])),
            }
            for number, (item, product) in enumerate(wanted, 1)
        ]
        self.orders[made.id] = order = {
            "id": made.id,
            "external_id": external_id,
            "user_id": body["user_id"],
            "status": "placed",
            "currency": wanted[0][1]["currency"],
            "total": money(sum((Decimal(line["amount"]) for line in lines), Decimal(0))),
            "cancelled_total": "0.00",
            "items": lines,
            "note": body.get("note"),
            "cancel_reason": None,
            "placed_at": made.at,
            "cancelled_at": None,
            "version": 0,
            "updated_at": made.at,
        }
        events = _happened("/orders", order, made.at, "OrderPlaced")
        taken = _sums((product["id"], -item["quantity"]) for item, product in wanted)
        return Done(201, order, events + self._move_stock(taken, made.at, "StockReserved"))

    def cancel(self, order: Json, body: Json, at: str) -> Answer:
        left = {line["line"]: line["quantity"] - line["cancelled_quantity"] for line in order["items"]}
        asked = left
        if body.get("lines") is not None:
            asked = _sums((line["line"], line["quantity"]) for line in body["lines"])
            if unknown := [{"line": line} for line in asked if line not in left]:
                return _refused(422, "unknown-line", {"lines": unknown})
            too_much = [
                {"line": line, "requested": quantity, "cancellable": left[line]}
                for line, quantity in asked.items()
                if quantity > left[line]
            ]
            if too_much:
                return _refused(409, "quantity-not-cancellable", {"lines": too_much})

        cancelled = [line for line in order["items"] if asked.get(line["line"])]
        for line in cancelled:
            line["cancelled_quantity"] += asked[line["line"]]
        amount = sum((asked[line["line"]] * Decimal(line["unit_price"]) for line in cancelled), Decimal(0))
        whole = all(line["cancelled_quantity"] == line["quantity"] for line in order["items"])
        order |= {
            "status": "cancelled" if whole else "partially_cancelled",
            "cancelled_total": money(Decimal(order["cancelled_total"]) + amount),
            "cancelled_at": at if whole else None,
        }
        if body.get("reason") is not None:
            order["cancel_reason"] = body["reason"]
        events = _happened("/orders", order, at, "OrderCancelled" if whole else "OrderLinesCancelled")
        returned = _sums((line["product_id"], asked[line["line"]]) for line in cancelled)
        return Done(200, order, events + self._move_stock(returned, at, "StockReleased"))

    def _wanted(self, item: Json) -> Json | None:
        name, value = ("sku", item["sku"]) if "sku" in item else ("id", item["product_id"])
        return next((product for product in self.products.values() if product[name] == value), None)

    def _move_stock(self, moves: Mapping[str, int], at: str, event: str) -> tuple[tuple[str, str], ...]:
        """One event for each product that is kept in stock."""
        events: tuple[tuple[str, str], ...] = ()
        for product_id, quantity in moves.items():
            product = self.products[product_id]
            if product["stock"] is not None:
                _set_stock(product, product["stock"] + quantity)
                events += _happened("/products", product, at, event)
        return events


def change_product(product: Json, body: Json, at: str) -> Answer:
    price = money(Decimal(body["price"]))
    events = ["ProductChanged"] * (product["name"] != body["name"]) + ["ProductRepriced"] * (product["price"] != price)
    product |= {"name": body["name"], "price": price}
    return Done(200, product, _happened("/products", product, at, *events))


def discontinue(product: Json, at: str) -> Answer:
    product["discontinued"] = True
    return Done(204, None, _happened("/products", product, at, "ProductDiscontinued"))


def adjust_stock(product: Json, body: Json, at: str) -> Answer:
    if product["stock"] is None:
        return _refused(409, "stock-not-kept")
    stock = product["stock"] + body["delta"]
    if stock < 0:
        return _refused(409, "insufficient-stock", {"lines": [_shortage(1, product, -body["delta"])]})
    if stock > STOCK_MAX:
        return _refused(422, "validation-error", {"errors": ["/delta"]})
    _set_stock(product, stock)
    return Done(200, product, _happened("/products", product, at, "StockAdjusted"))


def _not_to_be_had(wanted: list[tuple[Json, Json]]) -> list[Problem]:
    """What is wrong with an order of these items, each with its product."""
    problems = []
    numbered = list(enumerate(wanted))
    if ended := [f"/items/{index}" for index, (_, product) in numbered if product["discontinued"]]:
        problems.append(Problem(422, "product-discontinued", {"errors": ended}))
    if len({product["currency"] for _, product in wanted}) > 1:
        problems.append(Problem(422, "mixed-currency"))
    changed = [
        {"line": index + 1, "expected_unit_price": money(Decimal(expected)), "unit_price": product["price"]}
        for index, (item, product) in numbered
        if (expected := item.get("expected_unit_price")) is not None and Decimal(expected) != Decimal(product["price"])
    ]
    if changed:
        problems.append(Problem(409, "price-changed", {"lines": changed}))
    asked = _sums((product["id"], item["quantity"]) for item, product in wanted)
    short = [
        _shortage(index + 1, product, asked[product["id"]])
        for index, (_, product) in numbered
        if product["stock"] is not None and product["stock"] < asked[product["id"]]
    ]
    if short:
        problems.append(Problem(409, "insufficient-stock", {"lines": short}))
    return problems


def _shortage(line: int, product: Json, requested: int) -> Json:
    return {
        "line": line,
        "product_id": product["id"],
        "sku": product["sku"],
        "requested": requested,
        "available": product["stock"],
    }


def _set_stock(product: Json, stock: int) -> None:
    product |= {"stock": stock, "in_stock": stock > 0}


def _happened(path: str, resource: Json, at: str, *events: str) -> tuple[tuple[str, str], ...]:
    """Count the events of a resource: its version is the number of them."""
    if events:
        resource |= {"version": resource["version"] + len(events), "updated_at": at}
    return tuple((f"{path}/{resource['id']}", event) for event in events)


def _taken(those: Iterable[Json], name: str, value: str | None, path: str, code: str) -> list[Problem]:
    """The problem of a key that another resource has, which Location names. Nobody has None."""
    owners = [one["id"] for one in those if value is not None and one[name] == value]
    return [Problem(409, code, location=f"{path}/{owner}") for owner in owners]


def _sums(pairs: Iterable[tuple[Any, int]]) -> dict[Any, int]:
    sums: dict[Any, int] = {}
    for name, quantity in pairs:
        sums[name] = sums.get(name, 0) + quantity
    return sums


def _refused(status: int, code: str, facts: Json | None = None) -> Refused:
    return Refused((Problem(status, code, facts or {}),))
