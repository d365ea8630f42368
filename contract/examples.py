"""The shop of the examples in the OpenAPI document: Ada orders three packets of tea, and cancels one.

tests/contract/test_examples.py sends the requests, and compares what the service answers with the answers here.
"""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

_AS_TEXT = "x-examples-as-text"

ADA_ID = "01a203bc-74ac-725f-92ed-08497719d4bb"
TEA_ID = "01a203bc-750a-7854-90db-1c3dd7ab3d19"
ORDER_ID = "01a203bc-773b-728e-8ef9-4d67e659c012"
KEY_ID = "Ab12Cd34"
ACTOR = {"kind": "key", "id": KEY_ID}
REQUEST_ID = "01a203bc-7791-7e0e-b1c2-6f3d5a4c8e21"
REGISTERED = "2026-11-22T14:50:12.012345Z"
ADDED = "2026-11-22T14:50:12.111945Z"
PLACED = "2026-11-22T14:50:12.681763Z"
CANCELLED = "2026-11-23T09:14:03.274410Z"


def shown(*examples: object) -> ConfigDict:
    """The `model_config` of a model with these examples, as text until `put_back`: FastAPI drops every null."""
    return ConfigDict(json_schema_extra={_AS_TEXT: [json.dumps(it) for it in examples]})


def put_back(schemas: dict[str, dict[str, Any]]) -> None:
    for schema in schemas.values():
        if texts := schema.pop(_AS_TEXT, None):
            schema["examples"] = [json.loads(it) for it in texts]


def page_of(name: str, view: type[BaseModel], *examples: object, following: str | None = None) -> type[BaseModel]:
    """The model called `name` of a page of a list of `view`s, with these examples in it."""
    example = shown({"data": list(examples), "next": following})
    # mypy cannot know a type that is made at run time.
    return create_model(name, __config__=example, data=(list[view], ...), next=(str | None, ...))  # type: ignore[valid-type]


REGISTER: dict[str, Any] = {"name": "Ada Lovelace", "email": "ada@example.org", "external_id": "ada"}
USER: dict[str, Any] = {
    "id": ADA_ID,
    "external_id": "ada",
    **REGISTER,
    "version": 1,
    "created_at": REGISTERED,
    "updated_at": REGISTERED,
}

ADD: dict[str, Any] = {"sku": "tea-assam", "name": "Assam, 250 g", "price": "7.20", "currency": "EUR", "stock": 10}
PRODUCT: dict[str, Any] = {
    "id": TEA_ID,
    **ADD,
    "in_stock": True,
    "discontinued": False,
    "version": 2,
    "created_at": ADDED,
    "updated_at": ADDED,
}

PLACE: dict[str, Any] = {
    "user_id": ADA_ID,
    "items": [{"sku": "tea-assam", "quantity": 3, "expected_unit_price": "7.20"}],
    "external_id": "web-1001",
    "note": "leave it at the door",
}
ORDER: dict[str, Any] = {
    "id": ORDER_ID,
    "external_id": "web-1001",
    "user_id": ADA_ID,
    "status": "placed",
    "currency": "EUR",
    "total": "21.60",
    "cancelled_total": "0.00",
    "items": [
        {
            "line": 1,
            "product_id": TEA_ID,
            "sku": "tea-assam",
            "name": "Assam, 250 g",
            "quantity": 3,
            "cancelled_quantity": 0,
            "unit_price": "7.20",
            "amount": "21.60",
        }
    ],
    "note": "leave it at the door",
    "cancel_reason": None,
    "placed_at": PLACED,
    "cancelled_at": None,
    "version": 1,
    "updated_at": PLACED,
}

CANCEL: dict[str, Any] = {"reason": "one too many", "lines": [{"line": 1, "quantity": 1}]}
CANCELLED_IN_PART: dict[str, Any] = ORDER | {
    "status": "partially_cancelled",
    "cancelled_total": "7.20",
    "items": [ORDER["items"][0] | {"cancelled_quantity": 1}],
    "cancel_reason": "one too many",
    "version": 2,
    "updated_at": CANCELLED,
}
