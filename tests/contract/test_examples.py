"""The examples in the OpenAPI document keep to its schemas, and they are what the service takes and answers."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from contract import examples
from contract.problem_examples import EXAMPLES
from contract.problem_types import PROBLEMS
from tests.served import Shop

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[2] / "openapi.json").read_text())
SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
CAUSED = 26  # problems that a request alone can cause
NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"


def validate(value: Any, schema: dict[str, Any]) -> None:
    whole = {**schema, "components": DOCUMENT["components"], "$schema": "https://json-schema.org/draft/2020-12/schema"}
    jsonschema_rs.validator_for(whole, validate_formats=True).validate(value)


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body of a request or an answer in JSON: whose it is, and its media type object."""
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                yield f"{operation['operationId']} body", media
            for status, answer in operation["responses"].items():
                if media := answer.get("content", {}).get("application/json"):
                    yield f"{operation['operationId']} {status}", media


def examples_of(media: dict[str, Any]) -> list[Any]:
    if "example" in media:
        return [media["example"]]
    found: list[Any] = SCHEMAS[media["schema"]["$ref"].rpartition("/")[2]].get("examples", [])
    return found


@pytest.mark.parametrize(("whose", "media"), list(contents()), ids=lambda it: it if isinstance(it, str) else "")
def test_every_body_has_examples_that_keep_to_its_schema(whose: str, media: dict[str, Any]) -> None:
    found = examples_of(media)
    assert found
    for example in found:
        validate(example, media["schema"])


@pytest.mark.parametrize(("whose", "media"), list(contents()), ids=lambda it: it if isinstance(it, str) else "")
def test_every_body_has_an_example_where_postman_looks_for_it(whose: str, media: dict[str, Any]) -> None:
    validate(media["example"], media["schema"])


def test_no_two_operations_show_the_same_idempotency_key() -> None:
    keys = [
        parameter["example"]
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if parameter["name"] == "Idempotency-Key"
    ]
    commands = [it for it in DOCUMENT["paths"].values() if it.get("post", {}).get("x-dry-run")]
    assert len(keys) == len(set(keys)) == len(commands) > 4


def test_every_problem_has_an_example_that_keeps_to_the_schema() -> None:
    shown = DOCUMENT["components"]["examples"]
    assert shown.keys() == PROBLEMS.keys() == EXAMPLES.keys()
    for code, example in shown.items():
        validate(example["value"], {"$ref": "#/components/schemas/ProblemView"})
        assert example["value"]["code"] == code


def test_an_example_that_breaks_its_schema_is_found() -> None:
    for wrong in ({**examples.ORDER, "total": "21.6"}, {**examples.ORDER, "placed_at": "yesterday"}, {}):
        with pytest.raises(jsonschema_rs.ValidationError):
            validate(wrong, {"$ref": "#/components/schemas/OrderView"})


def masked(value: object) -> str:
    """JSON whose ids and times are masked."""
    return TIME.sub("TIME", UUID.sub("ID", json.dumps(value, sort_keys=True)))


@dataclass
class Made:
    """What the examples' requests have made: the paths, and the answers beside the examples."""

    user: str
    product: str
    order: str
    answers: list[tuple[httpx.Response, dict[str, Any]]]


@pytest.fixture(scope="module")
def made(shop: Shop) -> Made:
    user = shop.post("/users", json=examples.REGISTER)
    product = shop.post("/products", json=examples.ADD)
    order = shop.post("/orders", json=examples.PLACE | {"user_id": user.json()["id"]})
    cancelled = shop.post(f"{order.headers['location']}/cancel", json=examples.CANCEL)
    answers = [
        (user, examples.USER),
        (product, examples.PRODUCT),
        (order, examples.ORDER),
        (cancelled, examples.CANCELLED_IN_PART),
    ]
    return Made(*[it.headers["location"] for it in (user, product, order)], answers=answers)


def test_the_requests_of_the_examples_get_the_answers_of_the_examples(made: Made) -> None:
    for answer, example in made.answers:
        assert masked(answer.json()) == masked(example)


def test_events_and_history_are_those_of_the_examples(shop: Shop, made: Made) -> None:
    placed, reserved = SCHEMAS["EventPage"]["examples"][0]["data"]
    read = [shop.get(f"{path}/events").json()["data"] for path in (made.order, made.product)]
    assert masked(read[0][0] | {"position": placed["position"]}) == masked(placed)
    assert masked(read[1][2] | {"position": reserved["position"]}) == masked(reserved)

    (step,) = SCHEMAS["HistoryPage"]["examples"][0]["data"]
    of_order = shop.get(f"{made.order}/history").json()["data"][1]
    assert masked({**of_order, "position": step["position"], "actor": step["actor"]}) == masked(step)


def answers_to_mistakes(shop: Shop, made: Made) -> Iterator[httpx.Response]:
    """The answers to requests that fail, each for its own reason."""
    yield shop.http.post("/users", content='{"name": "Ada" "', headers={"Content-Type": "application/json"})
    yield shop.http.post("/users", content="name=Ada", headers={"Content-Type": "text/plain"})
    yield shop.http.post("/users", content=b" " * (2**20 + 1), headers={"Content-Type": "application/json"})
    yield shop.get("/users?" + "x" * 9_000)
    yield shop.get("/orders?colour=red")
    yield shop.get("/orders?limit=many")
    yield shop.get("/orders?cursor=none")
    yield shop.get("/orders", headers={"Sync-Token": "42000", "Prefer": "wait=0"})
    yield shop.get(f"/orders/{NOBODY}")
    yield shop.delete("/users")
    change = {"name": "Tea", "price": "8"}
    yield shop.put(made.product, json=change, headers={"If-Match": "3"})
    yield shop.put(made.product, json=change, headers={"If-Match": '"2"'})
    yield shop.post("/products", json=examples.ADD)
    yield shop.post("/users", json=examples.REGISTER | {"external_id": "other"})
    key = {"Idempotency-Key": "of the examples"}
    shop.post("/users", json={"name": "Bob", "email": "bob@example.org"}, headers=key)
    yield shop.post("/users", json={"name": "Eve", "email": "eve@example.org"}, headers=key)


def answers_to_impossible_orders(shop: Shop, made: Made) -> Iterator[httpx.Response]:
    user = made.user.removeprefix("/users/")

    def ordered(*items: dict[str, Any], **more: Any) -> httpx.Response:
        return shop.post("/orders", json={"user_id": user, "items": list(items)} | more)

    def cancelled(line: int, quantity: int) -> httpx.Response:
        return shop.post(f"{made.order}/cancel", json={"lines": [{"line": line, "quantity": quantity}]})

    postage = {"sku": "postage", "name": "Postage", "price": "2.00", "currency": "GBP", "stock": None}
    free = shop.post("/products", json=postage).headers["location"]
    old = shop.post("/products", json=postage | {"sku": "old"}).headers["location"]
    shop.delete(old)
    tea = {"sku": "tea-assam", "quantity": 1}
    yield ordered({"sku": "tea-assam"})
    yield ordered(tea | {"quantity": 12})
    yield ordered(tea | {"expected_unit_price": "6.90"})
    yield ordered(tea, external_id="web-1001")
    yield ordered(tea, user_id=NOBODY)
    yield ordered({"sku": "unknown", "quantity": 1})
    yield ordered({"sku": "old", "quantity": 1})
    yield ordered(tea, {"sku": "postage", "quantity": 1})
    yield cancelled(line=1, quantity=5)
    yield cancelled(line=7, quantity=1)
    yield shop.post(f"{free}/stock", json={"delta": 1, "reason": "counted"})


def test_the_examples_of_problems_match_the_answers(shop: Shop, made: Made) -> None:
    codes = set()
    for answer in (*answers_to_mistakes(shop, made), *answers_to_impossible_orders(shop, made)):
        problem = answer.json()
        problem.pop("instance", None)
        assert masked(problem) == masked(EXAMPLES[problem["code"]].document())
        codes.add(problem["code"])
    assert len(codes) == CAUSED
