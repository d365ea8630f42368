"""Every body of the document that has the wrong JSON type is refused in words that name nothing of the code."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.openapi import DOCUMENT
from tests.served import Shop, problem

SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
NO_OBJECTS: list[Any] = [[], [{}], "text", 1, 1.5, True]


def schema_of(part: dict[str, Any]) -> dict[str, Any]:
    """The part itself, what it refers to, or the first of its choices."""
    if "anyOf" in part:
        return schema_of(part["anyOf"][0])
    return SCHEMAS[part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def bodies() -> Iterator[Any]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if "requestBody" in operation:
                body = operation["requestBody"]
                schema = schema_of(body["content"]["application/json"]["schema"])
                is_required = body.get("required", False)
                yield pytest.param(method.upper(), path.format(id=ID), schema, is_required, id=operation["operationId"])


def told(shop: Shop, method: str, path: str, content: str) -> list[tuple[str, str, str]]:
    answer = shop.http.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert problem(answer) == (422, "validation-error")
    errors = [(it["pointer"], it["code"], it["detail"]) for it in answer.json()["errors"]]
    assert not [detail for *_, detail in errors for name in SCHEMAS if name in detail]
    return errors


@pytest.mark.parametrize(("method", "path", "schema", "is_required"), list(bodies()))
def test_a_body_that_is_missing_or_no_object_is_refused_in_our_words(
    shop: Shop, method: str, path: str, schema: dict[str, Any], is_required: bool
) -> None:
    for value in NO_OBJECTS:
        assert told(shop, method, path, json.dumps(value)) == [("", "model-type", "must be an object")]
    if is_required:
        assert told(shop, method, path, "") == [("", "missing", "the body is missing: it must be an object")]
    for name, part in schema["properties"].items():
        items = schema_of(part).get("items", {})
        for value in NO_OBJECTS if schema_of(items).get("type") == "object" else ():
            errors = told(shop, method, path, json.dumps({name: [value]}))
            assert (f"/{name}/0", "model-type", "must be an object") in errors
