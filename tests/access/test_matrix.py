"""Every caller, every operation, his own resource, another's and a missing one: no cell differs from matrix.txt."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from access import keys
from access.roles import ROLES, widened
from contract.callers import SCOPES, requirement_of
from tests import loopback
from tests.access.keyed import bearing, guarded, new_key
from tests.access.test_ownership import WRITES
from tests.openapi import COMMANDS
from tests.projecting import projected
from tests.served import Shop

MISSING = "01890a5d-ac96-774b-bcce-b302099a8057"
TARGETS = ("own", "other", "missing")


class Row(NamedTuple):
    """An operation as matrix.txt has it."""

    method: str
    path: str
    scope: str
    customer: str


ROWS = [
    Row(*line.split())
    for line in (Path(__file__).parent / "matrix.txt").read_text().splitlines()
    if not line.startswith("#")
]
BODIES: dict[str, Any] = {
    "POST /users": {"name": "x", "email": "x"},
    "PUT /users/{id}": {"name": "Ada", "email": "ada@matrix.example"},
    "POST /orders": {"user_id": "{user}", "items": [{"sku": "no such sku", "quantity": 1}]},
    "PUT /products/{id}": {"name": "Tea", "price": "1.00"},
    "POST /products/{id}/stock": {"delta": 1, "reason": "counted"},
    "POST /orders/{id}/cancel": {"lines": [{"line": 1, "quantity": 1}]},
}


class House(NamedTuple):
    """A shop with one resource of each kind for two customers; `callers` are the headers of each."""

    shop: Shop
    ids: dict[str, dict[str, str]]
    callers: dict[str, tuple[dict[str, str], str, frozenset[str]]]


@pytest.fixture(scope="module")
def house(module_database_url: str) -> Iterator[House]:
    url = module_database_url
    free = {"writes_per_minute": 0, "reads_per_minute": 0, "behind_proxy": True}
    with projected(url), guarded(url, **free) as shop:
        product = shop.product(stock=1_000)
        users = [shop.user()["id"] for _ in range(2)]
        orders = [shop.order((product, 2), user_id=user)["id"] for user in users]
        shop.get("/orders", headers={"Sync-Token": str(shop.head()), "Prefer": "wait=20"}).raise_for_status()
        ids = {
            target: {"user": user, "order": order, "product": product_id}
            for target, user, order, product_id in (
                ("own", users[0], orders[0], product["id"]),
                ("other", users[1], orders[1], product["id"]),
                ("missing", MISSING, MISSING, MISSING),
            )
        }
        callers = {
            "none": ({}, "401", frozenset[str]()),
            "bad": (bearing(keys.make().text), "401", frozenset[str]()),
            "misspelt": (bearing(new_key(url, "operator")[:-1] + "!"), "401", frozenset[str]()),
            "customer": (bearing(new_key(url, "customer", user_id=users[0])), "customer", ROLES["customer"]),
            "staff": (bearing(new_key(url, "staff")), "in", ROLES["staff"]),
            "operator": (bearing(new_key(url, "operator")), "in", ROLES["operator"]),
        }
        for scope in SCOPES:
            key = new_key(url, "integration", [scope])
            callers[scope] = (bearing(key), "in", widened([scope]))
        for end in ("revoked", "expired"):
            made = shop.post("/keys", json={"name": end, "role": "operator"}).json()
            callers[end] = (bearing(made["key"]), "401", frozenset[str]())
            if end == "revoked":
                shop.delete(f"/keys/{made['id']}").raise_for_status()
            else:
                shop.post(f"/keys/{made['id']}/rotate", json={"overlap_hours": 0}).raise_for_status()
        yield House(shop, ids, callers)


def expected(row: Row, kind: str, scopes: frozenset[str], target: str) -> str:
    """What a cell must be: 401, 403, 404, 405, or in."""
    if row.scope == "-":
        return "in"
    if kind == "401":
        return "401"
    if row.scope not in scopes and row.scope != "any":
        return "403"
    if row.scope == "any":
        return "405"
    of_resource = "{id}" in row.path and not row.path.startswith("/keys")
    if of_resource and (target == "missing" or (kind == "customer" and row.customer == "own" and target == "other")):
        return "404"
    return "in"


def targets_of(row: Row) -> tuple[str, ...]:
    """All targets, or one of them where the requests would not differ."""
    names_one = "{id}" in row.path and not row.path.startswith("/keys")
    return TARGETS if names_one or (row.method, row.path) == ("POST", "/orders") else TARGETS[:1]


def asked(house: House, client: httpx.Client, row: Row, target: str, headers: dict[str, str]) -> httpx.Response:
    kind = row.path.strip("/").partition("/")[0].removesuffix("s")
    ids = house.ids[target]
    path = row.path.replace("{id}", ids.get(kind, "Ab12Cd34")).replace("{code}", "not-found")
    body = BODIES.get(f"{row.method} {row.path}", {} if row.method in {"POST", "PUT"} else None)
    if body and "user_id" in body:
        body = body | {"user_id": ids["user"]}
    # No version is 999: a change that is let in changes nothing all the same.
    return client.request(row.method, path, json=body, headers=headers | {"If-Match": '"999"'})


def test_no_cell_of_the_matrix_differs(house: House) -> None:
    addresses = itertools.count()
    head = house.shop.head()
    differing, cells = [], 0
    with loopback.Client(base_url=house.shop.http.base_url) as client:
        for row in ROWS:
            for caller, (headers, kind, scopes) in house.callers.items():
                for target in targets_of(row):
                    number = next(addresses)
                    sent = headers | {"X-Forwarded-For": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}
                    answer = asked(house, client, row, target, sent)
                    status = answer.status_code
                    found = str(status) if status in {401, 403, 405} else "in"
                    if status == 404 and not row.path.startswith("/keys"):
                        found = "404"
                    if row.path in {"/openapi.json", "/docs", "/problems/{code}"}:
                        found = "in" if status == 200 else found
                    cells += 1
                    if found != expected(row, kind, scopes, target):
                        differing.append(
                            f"{row.method} {row.path} by {caller} ({target}): {status} {answer.text[:200]}"
                        )
    assert not differing, "\n".join(differing[:20])
    assert cells > 1_000
    assert house.shop.head() == head


def test_an_order_for_another_user_answers_as_for_a_missing_one(house: House) -> None:
    headers, *_ = house.callers["customer"]
    (row,) = [it for it in ROWS if (it.method, it.path) == ("POST", "/orders")]
    codes = [asked(house, house.shop.http, row, target, headers).json()["code"] for target in TARGETS]
    assert codes == ["unknown-product", "unknown-user", "unknown-user"]


def test_the_matrix_has_every_operation_with_the_scope_that_the_document_shows(house: House) -> None:
    document = house.shop.get("/openapi.json").json()
    shown = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            required = requirement_of(operation)
            assert required is not None
            shown[method.upper(), path] = "-" if required.optional else required.scope or "any"
    hidden = {"/openapi.json", "/docs"}
    listed = {(it.method, it.path): it.scope for it in ROWS if it.path not in hidden and it.scope != "any"}
    assert listed == shown


def test_every_command_of_a_customer_is_tried_on_anothers_resource() -> None:
    own = {(row.method, row.path) for row in ROWS if row.customer == "own" and (row.method, row.path) in COMMANDS}
    tried = {(method, re.sub(r"{\w+}", "{id}", path)) for method, path, _ in WRITES}
    # A customer registers nobody else.
    assert tried == own - {("POST", "/users")}, "WRITES of test_ownership.py lists the commands"


def test_head_is_guarded_as_get_is(house: House) -> None:
    for row in ROWS:
        if row.method == "GET" and row.scope not in {"-", "any"}:
            path = row.path.replace("{id}", MISSING)
            answer = loopback.head(
                f"{house.shop.http.base_url}{path}", headers={"X-Forwarded-For": f"10.9.9.{ROWS.index(row)}"}
            )
            assert answer.status_code == 401, path
