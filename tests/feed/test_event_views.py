"""The OpenAPI document describes the payload of each event type, and every stored event keeps to it."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from eventlog.events import SCHEMA_VERSIONS

ROOT = Path(__file__).parents[2]
SCHEMAS: dict[str, dict[str, Any]] = json.loads((ROOT / "openapi.json").read_text())["components"]["schemas"]
GOLDEN = [json.loads(line) for line in (ROOT / "tests/eventlog/golden/events.jsonl").read_text().splitlines()]
NAMES = sorted(event.__name__ for event in SCHEMA_VERSIONS)


def keeps_to(name: str, value: object) -> bool:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    return jsonschema_rs.is_valid(schema, value)


def envelope(event: dict[str, Any]) -> dict[str, Any]:
    time = "2026-11-22T14:50:12.681763Z"
    return {"position": 1, "stream": "x-1", "version": 1, "occurred_at": time, "recorded_at": time, **event}


def test_the_type_of_an_event_tells_its_model() -> None:
    mapping = SCHEMAS["EventView"]["discriminator"]["mapping"]
    assert SCHEMAS["EventView"]["discriminator"]["propertyName"] == "type"
    assert mapping == {name: f"#/components/schemas/{name}Event" for name in NAMES}
    assert [it["$ref"] for it in SCHEMAS["EventView"]["oneOf"]] == [
        f"#/components/schemas/{event.__name__}Event" for event in SCHEMA_VERSIONS
    ]
    for name in NAMES:
        properties = SCHEMAS[f"{name}Event"]["properties"]
        assert properties["type"] == {"$ref": f"#/components/schemas/{name}Type"}
        assert SCHEMAS[f"{name}Type"]["const"] == name
        assert properties["data"] == {"$ref": f"#/components/schemas/{name}"}


@pytest.mark.parametrize("event", GOLDEN, ids=[it["type"] for it in GOLDEN])
def test_every_stored_event_keeps_to_its_schema_and_to_no_other(event: dict[str, Any]) -> None:
    assert keeps_to("EventView", envelope(event))
    assert [name for name in NAMES if keeps_to(f"{name}Event", envelope(event))] == [event["type"]]


@pytest.mark.parametrize("event", [it for it in GOLDEN if it["data"]], ids=lambda it: it["type"])
def test_data_of_another_shape_breaks_the_schema(event: dict[str, Any]) -> None:
    for name in event["data"]:
        assert not keeps_to("EventView", envelope(event | {"data": event["data"] | {name: {}}}))
