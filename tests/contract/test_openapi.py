"""The OpenAPI document says what the API does: every endpoint, its headers, its problems."""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.problem_types import PROBLEMS
from contract.problems import MEDIA_TYPE
from service.app import create_app
from service.settings import Settings
from tests.served import Shop

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "/users": ["post"],
    "/users/{id}": ["put", "delete"],
    "/products": ["post"],
    "/products/{id}": ["put", "delete"],
    "/products/{id}/stock": ["post"],
    "/orders": ["post"],
    "/orders/{id}/cancel": ["post"],
}
QUERIES = [
    *["/users", "/users/{id}", "/users/{id}/orders", "/users/{id}/events"],
    *["/products", "/products/{id}", "/products/{id}/events"],
    *["/orders", "/orders/{id}", "/orders/{id}/events"],
    *[f"/{kind}/{{id}}/{what}" for kind in ("orders", "products", "users") for what in ("history", "explain")],
    *[
        "/events",
        "/sales",
        "/projections",
        "/keys",
        "/audit",
        "/healthz",
        "/readyz",
        "/metrics",
        "/problems/{code}",
        "/",
    ],
]
# They are no commands of the shop: their answers are secrets, which nothing keeps.
OF_KEYS = {("/keys", "post"), ("/keys/{id}/rotate", "post"), ("/keys/{id}", "delete")}
METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = create_app(Settings(database_url="postgresql://localhost/orders", redis_url="redis://localhost"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # duplicate operation ids are only warned of
        return app.openapi()


def parts(part: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(part, dict):
        yield part
    for it in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from parts(it)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            yield path, method, item[method]


def commands(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    return (it for it in operations(document) if it[1] in COMMANDS.get(it[0], ()))


def problems_of(
    document: dict[str, Any], operation: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Status, content and answer, of each answer that is a problem document."""
    for status, named in operation["responses"].items():
        answer = document["components"]["responses"][named["$ref"].rpartition("/")[2]] if "$ref" in named else named
        if status[0] not in "23":
            yield status, answer["content"][MEDIA_TYPE], answer


def headers_taken(operation: dict[str, Any]) -> set[str]:
    return {it["name"] for it in operation.get("parameters", ()) if it["in"] == "header"}


def test_the_document_is_served_and_is_openapi_3_1(document: dict[str, Any], shop: Shop) -> None:
    answer = shop.get("/openapi.json")
    assert (answer.status_code, answer.json()) == (200, document)
    assert document["openapi"].startswith("3.1.")
    assert shop.get("/docs").status_code == 200


def test_the_document_in_the_repository_is_current(document: dict[str, Any]) -> None:
    kept = (ROOT / "openapi.json").read_text()
    assert json.loads(kept) == document, "run: orders openapi > openapi.json"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "service.cli", "openapi"], capture_output=True, text=True, check=True
    )
    assert done.stdout == kept


def test_the_document_names_its_licence_its_makers_its_version_and_its_tags(document: dict[str, Any]) -> None:
    info = document["info"]
    assert f'authors = [{{ name = "{info["contact"]["name"]}" }}]\n' in (ROOT / "pyproject.toml").read_text()
    assert info["license"] == {"name": "MIT", "identifier": "MIT"}
    assert f'\nversion = "{info["version"]}"\n' in (ROOT / "pyproject.toml").read_text()
    used = {tag for _, _, operation in operations(document) for tag in operation["tags"]}
    assert used == {tag["name"] for tag in document["tags"]}


def test_every_endpoint_is_in_it_and_no_other(document: dict[str, Any]) -> None:
    documented = {(path, method) for path, method, _ in operations(document)} - {(path, "head") for path in QUERIES}
    commanded = {(path, method) for path, methods in COMMANDS.items() for method in methods}
    assert documented == commanded | OF_KEYS | {(path, "get") for path in QUERIES}


def test_operation_ids_are_stable_names(document: dict[str, Any]) -> None:
    ids = {operation["operationId"]: (method, path) for path, method, operation in operations(document)}
    assert len(ids) == len(list(operations(document)))
    assert ids["placeOrder"] == ("post", "/orders")
    assert ids["cancelOrder"] == ("post", "/orders/{id}/cancel")
    assert ids["listOrdersOfUser"] == ("get", "/users/{id}/orders")
    assert ids["getReadiness"] == ("get", "/readyz")
    assert all(it.isalpha() and it[0].islower() for it in ids)


def test_every_operation_has_a_description(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert operation.get("description"), (method, path)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = {it["$ref"] for it in parts(document) if isinstance(it.get("$ref"), str)}
    assert found
    for reference in found:
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_path_parameters_are_declared(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        declared = {it["name"] for it in operation.get("parameters", ()) if it["in"] == "path"}
        assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}, (method, path)


def test_an_id_has_the_same_type_in_paths_and_in_answers(document: dict[str, Any]) -> None:
    of_answers = document["components"]["schemas"]["OrderView"]["properties"]["id"]["format"]
    in_paths = [
        it["schema"].get("format")
        for _, _, operation in operations(document)
        for it in operation.get("parameters", ())
        if (it["in"], it["name"]) == ("path", "id")
    ]
    assert set(in_paths) == {of_answers} == {"uuid"}


def test_every_post_takes_an_idempotency_key_and_nothing_else_does(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        if (path, method) in OF_KEYS:
            continue
        assert ("Idempotency-Key" in headers_taken(operation)) == (method == "post"), (method, path)
        if method == "post":
            (success,) = (it for code, it in operation["responses"].items() if code.startswith("2"))
            assert "Idempotency-Replayed" in success["headers"]
            assert "idempotency-key-reused" in operation["responses"]["422"]["description"]


def test_changes_take_if_match(document: dict[str, Any]) -> None:
    for path, method, operation in commands(document):
        assert ("If-Match" in headers_taken(operation)) == ("{id}" in path), (method, path)
        assert ("412" in operation["responses"]) == ("{id}" in path), (method, path)


def test_commands_document_the_headers_of_their_answers(document: dict[str, Any]) -> None:
    for path, method, operation in commands(document):
        status = {"post": "200" if "{id}" in path else "201", "put": "200", "delete": "204"}[method]
        answer = operation["responses"][status]
        told = {"Sync-Token", "Command-Id"}
        assert told <= answer["headers"].keys()
        assert ("ETag" in answer["headers"]) == ("content" in answer) == (status != "204")
        assert ("Location" in answer["headers"]) == (status == "201")


def test_problems_are_documented_as_problem_documents(document: dict[str, Any]) -> None:
    for path, method, operation in commands(document):
        statuses = operation["responses"].keys()
        of_bodies = {"413", "415", "422"}
        assert {"400", "401", "403", "429", "503", "default"} <= statuses, (method, path)
        assert of_bodies & statuses == (of_bodies if "requestBody" in operation else set()), (method, path)


def test_every_operation_names_the_codes_of_its_problems(document: dict[str, Any]) -> None:
    """The names of the examples are the codes: a closed set for each operation, and an example of each."""
    for path, method, operation in operations(document):
        found = list(problems_of(document, operation))
        for status, content, answer in found:
            codes = content["examples"].keys()
            assert codes, (method, path, status)
            assert status == "default" or {PROBLEMS[code].status for code in codes} == {int(status)}
            assert all(it == {"$ref": f"#/components/examples/{code}"} for code, it in content["examples"].items())
            assert all(f"`{code}`" in answer["description"] for code in codes)
        codes_found = [code for _, content, _ in found for code in content["examples"]]
        assert len(codes_found) == len(set(codes_found))
        assert {"malformed-request", "internal-error", "overloaded"} <= set(codes_found), (method, path)
        needs_caller = operation["security"] and {} not in operation["security"]
        assert ("unauthenticated" in codes_found) == bool(needs_caller), (method, path)


def test_problems_name_their_headers(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, content, answer in problems_of(document, operation):
            codes, headers = content["examples"].keys(), answer["headers"].keys()
            assert "X-Request-Id" in headers
            assert ("Retry-After" in headers) == (status in {"429", "503"}), (method, path)
            assert ("WWW-Authenticate" in headers) == (status == "401")
            assert ("Location" in headers) == bool(codes & {"duplicate-external-id", "sku-taken", "already-registered"})
            assert ("Allow" in headers) == ("method-not-allowed" in codes)


def test_bodies_are_documented_with_their_limits(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("RegisterUserBody", "AddProductBody", "PlaceOrderBody", "CancelOrderBody", "AdjustStockBody"):
        assert schemas[name]["additionalProperties"] is False
    user = schemas["RegisterUserBody"]["properties"]
    assert (user["name"]["minLength"], user["name"]["maxLength"], user["email"]["maxLength"]) == (1, 200, 254)
    items = schemas["PlaceOrderBody"]["properties"]["items"]
    assert (items["minItems"], items["maxItems"]) == (1, 1_000)
    assert schemas["AddProductBody"]["properties"]["stock"]["default"] == 0


def test_every_integer_says_how_wide_it_is(document: dict[str, Any]) -> None:
    integers = [it for it in parts(document) if it.get("type") == "integer"]
    for it in integers:
        most = max(abs(it.get("maximum", 0)), abs(it.get("exclusiveMaximum", 0)))
        assert it.get("format") in ({"int64"} if most > 2**31 else {"int32", "int64"}), it
    schemas = document["components"]["schemas"]
    assert schemas["ProductView"]["properties"]["stock"]["anyOf"][0]["format"] == "int64"
    assert schemas["OrderPlacedEvent"]["properties"]["position"]["format"] == "int64"
    assert schemas["StockAdjusted"]["properties"]["stock_after"]["format"] == "int64"
    assert schemas["PlaceOrderBody"]["properties"].keys() >= {"user_id", "items"}


def test_money_as_a_number_has_no_rule_that_floats_break(document: dict[str, Any]) -> None:
    assert not [it for it in parts(document) if "multipleOf" in it]


def test_a_line_of_an_order_has_plain_properties(document: dict[str, Any]) -> None:
    line = document["components"]["schemas"]["ItemBody"]
    assert line["properties"].keys() == {"product_id", "sku", "quantity", "expected_unit_price"}
    for it in parts(document):
        assert not ("properties" in it and {"oneOf", "anyOf", "allOf"} & it.keys()), it


def test_a_sync_token_has_one_type(document: dict[str, Any]) -> None:
    sent = [it["schema"] for it in parts(document) if it.get("name") == "Sync-Token"]
    carried = [it["Sync-Token"]["schema"] for it in parts(document) if "Sync-Token" in it]
    assert sent
    assert carried
    for schema in (*sent, *carried):
        assert (schema["type"], schema["format"]) == ("integer", "int64")


def test_problems_are_documented_with_all_their_members(document: dict[str, Any], shop: Shop) -> None:
    schemas = document["components"]["schemas"]
    members = schemas["ProblemView"]["properties"]
    assert (members["errors"]["type"], members["lines"]["type"], members["parameter"]["type"]) == (
        "array",
        "array",
        "string",
    )
    # Absent or a list: a default would say that it is always there.
    assert not {"errors", "lines", "parameter"} & set(schemas["ProblemView"]["required"])
    assert not [it for it in members.values() if "default" in it]

    product = shop.product(stock=1)
    body = {"user_id": shop.user()["id"], "items": [{"sku": product["sku"], "quantity": 2}]}
    short = shop.post("/orders", json=body).json()
    dear = shop.post("/orders", json={**body, "items": [{**body["items"][0], "expected_unit_price": "9"}]}).json()
    wrong = shop.post("/orders", json={}).json()
    unknown = shop.get("/orders?colour=red").json()
    assert (len(short["lines"]), len(dear["lines"]), unknown["parameter"]) == (1, 1, "colour")
    assert isinstance(wrong["errors"], list)
    for problem in (short, dear, wrong, unknown):
        assert problem.keys() <= members.keys()
        for line in problem.get("lines", ()):
            assert line.keys() <= schemas["ProblemLine"]["properties"].keys()


def test_readiness_is_documented_in_both_of_its_answers(document: dict[str, Any]) -> None:
    answers = document["paths"]["/readyz"]["get"]["responses"]
    for status in ("200", "503"):
        schema = answers[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Readiness"}
