"""The OpenAPI document keeps what the recorded baseline promises, and the comparison finds each kind of break."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.baseline import ROOT, current, recorded
from tests.clients.compatibility import Surface, breaking, surface_of

Document = dict[str, Any]
HOW = "docs/clients.md says what to do about it"


@pytest.fixture(scope="module")
def document() -> Document:
    read: Document = json.loads((ROOT / "openapi.json").read_text())
    return read


def test_no_change_of_the_document_breaks_a_caller() -> None:
    assert breaking(recorded(), current()) == [], HOW


def test_everything_that_callers_may_rely_on_is_in_the_baseline() -> None:
    assert set(current().lines()) - set(recorded().lines()) == set(), HOW


def schema(document: Document, name: str) -> Document:
    found: Document = document["components"]["schemas"][name]
    return found


def parameter(document: Document, path: str, name: str) -> Document:
    found: Document
    (found,) = [it for it in document["paths"][path]["get"]["parameters"] if it["name"] == name]
    return found


def new_parameter(*, required: bool) -> Document:
    return {"name": "colour", "in": "query", "required": required, "schema": {"type": "string"}}


BREAKING: dict[str, tuple[Callable[[Document], object], str]] = {
    "path removed": (lambda it: it["paths"].pop("/orders/{id}"), "removed: GET /orders/{id}"),
    "operation removed": (lambda it: it["paths"]["/users/{id}"].pop("delete"), "removed: DELETE /users/{id}"),
    "operation renamed": (
        lambda it: it["paths"]["/orders"]["post"].update(operationId="order"),
        "removed: POST /orders operationId placeOrder",
    ),
    "parameter removed": (
        lambda it: it["paths"]["/orders"]["get"]["parameters"].remove(parameter(it, "/orders", "status")),
        "removed: GET /orders query status",
    ),
    "required parameter added": (
        lambda it: it["paths"]["/orders"]["get"]["parameters"].append(new_parameter(required=True)),
        "added: GET /orders: requires GET /orders query colour",
    ),
    "parameter made required": (
        lambda it: parameter(it, "/orders", "status").update(required=True),
        "added: GET /orders: requires GET /orders query status",
    ),
    "default changed": (
        lambda it: parameter(it, "/orders", "limit")["schema"].update(default=50),
        "removed: GET /orders query limit is 25 when absent",
    ),
    "limit made tighter": (
        lambda it: parameter(it, "/orders", "limit")["schema"].update(maximum=50),
        "tighter: GET /orders query limit: maximum 50",
    ),
    "value of a parameter removed": (
        lambda it: parameter(it, "/orders", "status")["schema"]["items"]["enum"].remove("cancelled"),
        "removed: GET /orders query status[] takes 'cancelled'",
    ),
    "member of a body removed": (
        lambda it: schema(it, "PlaceOrderBody")["properties"].pop("note"),
        "removed: PlaceOrderBody.note",
    ),
    "member of a body made required": (
        lambda it: schema(it, "PlaceOrderBody")["required"].append("note"),
        "added: PlaceOrderBody: requires PlaceOrderBody.note",
    ),
    "member of a body no longer null": (
        lambda it: schema(it, "PlaceOrderBody")["properties"]["note"]["anyOf"].pop(),
        "removed: PlaceOrderBody.note takes null",
    ),
    "body made required": (
        lambda it: it["paths"]["/orders/{id}/cancel"]["post"]["requestBody"].update(required=True),
        "added: POST /orders/{id}/cancel: requires POST /orders/{id}/cancel body",
    ),
    "success status changed": (
        lambda it: it["paths"]["/orders"]["post"]["responses"].update(
            {"200": it["paths"]["/orders"]["post"]["responses"].pop("201")}
        ),
        "removed: POST /orders 201",
    ),
    "header of an answer removed": (
        lambda it: it["paths"]["/orders"]["post"]["responses"]["201"]["headers"].pop("Sync-Token"),
        "removed: POST /orders 201 header Sync-Token",
    ),
    "member of an answer removed": (
        lambda it: schema(it, "OrderView")["properties"].pop("total"),
        "removed: OrderView.total",
    ),
    "member of an answer made optional": (
        lambda it: schema(it, "OrderView")["required"].remove("total"),
        "removed: OrderView.total is always there",
    ),
    "member of an answer made null": (
        lambda it: schema(it, "OrderView")["properties"].update(total={"anyOf": [{"type": "null"}]}),
        "added: OrderView.total: may be null",
    ),
    "type of an answer's member changed": (
        lambda it: schema(it, "OrderView")["properties"]["version"].update(format="int64"),
        "added: OrderView.version: may be integer int64",
    ),
    "value of an answer's member added": (
        lambda it: schema(it, "OrderView")["properties"]["status"]["enum"].append("shipped"),
        "added: OrderView.status: may be 'shipped'",
    ),
    "member of a problem removed": (
        lambda it: schema(it, "ProblemView")["properties"].pop("lines"),
        "removed: ProblemView.lines",
    ),
}


@pytest.mark.parametrize("kind", BREAKING)
def test_a_change_that_breaks_callers_is_found(kind: str, document: Document) -> None:
    change, expected = BREAKING[kind]
    changed = copy.deepcopy(document)
    change(changed)
    assert expected in breaking(surface_of(document), surface_of(changed))


COMPATIBLE: dict[str, Callable[[Document], object]] = {
    "path added": lambda it: it["paths"].update({"/baskets": copy.deepcopy(it["paths"]["/orders"])}),
    "optional parameter added": lambda it: it["paths"]["/orders"]["get"]["parameters"].append(
        new_parameter(required=False)
    ),
    "value of a parameter added": lambda it: parameter(it, "/orders", "status")["schema"]["items"]["enum"].append(
        "shipped"
    ),
    "limit made looser": lambda it: parameter(it, "/orders", "limit")["schema"].update(maximum=200),
    "optional member of a body added": lambda it: schema(it, "PlaceOrderBody")["properties"].update(
        gift={"type": "string", "maxLength": 5}
    ),
    "member of an answer added": lambda it: (
        schema(it, "OrderView")["properties"].update(gift={"type": "string"}),
        schema(it, "OrderView")["required"].append("gift"),
    ),
    "value of an answer's member removed": lambda it: schema(it, "OrderView")["properties"]["status"]["enum"].pop(),
    "problem added": lambda it: it["paths"]["/orders"]["get"]["responses"].update({"429": {"description": "Slower"}}),
    "description changed": lambda it: it["paths"]["/orders"]["get"].update(description="All orders."),
}


@pytest.mark.parametrize("kind", COMPATIBLE)
def test_a_change_that_callers_do_not_notice_is_not_reported(kind: str, document: Document) -> None:
    changed = copy.deepcopy(document)
    COMPATIBLE[kind](changed)
    assert changed != document
    assert breaking(surface_of(document), surface_of(changed)) == []


def test_a_surface_is_read_as_it_was_written(document: Document) -> None:
    surface = surface_of(document)
    assert Surface.read(surface.lines()) == surface
