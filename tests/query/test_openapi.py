"""The OpenAPI document shows what the routes take and answer, although they read and write bytes themselves."""

import warnings
from typing import Any

import pytest

import feed.routes
from contract.openapi import problem_schemas
from query import orders, products, users
from query.database import Reads
from query.orders import OrdersParameters, UsersOrdersParameters
from query.parameters import PageParameters
from query.products import ProductsParameters
from query.sync import Sync
from query.users import UsersParameters
from readmodel.shop import METADATA as SHOP
from tests.query.conftest import application


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    reads = Reads("postgresql://nowhere")
    sync = Sync.of_tables(reads, SHOP)
    of_tables = [side.router(reads, sync) for side in (users, products, orders)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return application(*of_tables, feed.routes.router(reads)).openapi()


def parameters(document: dict[str, Any], path: str, place: str) -> set[str]:
    found = document["paths"][path]["get"]["parameters"]
    return {one["name"] for one in found if one["in"] == place}


def test_every_query_of_the_contract_is_there(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == {
        "/users",
        "/users/{id}",
        "/users/{id}/orders",
        "/users/{id}/events",
        "/products",
        "/products/{id}",
        "/products/{id}/events",
        "/orders",
        "/orders/{id}",
        "/orders/{id}/events",
        "/events",
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/users", "email external_id"),
        ("/products", "sku in_stock discontinued price[gte] price[gt] price[lte] price[lt]"),
        (
            "/orders",
            """user_id status product_id external_id
            placed_at[gte] placed_at[gt] placed_at[lte] placed_at[lt] total[gte] total[gt] total[lte] total[lt]""",
        ),
    ],
)
def test_the_filters_are_those_of_the_contract(document: dict[str, Any], path: str, expected: str) -> None:
    assert parameters(document, path, "query") == {*expected.split(), "sort", "limit", "cursor"}
    assert parameters(document, path, "header") == {"Sync-Token", "Prefer"}


def test_parameters_have_types_choices_and_defaults(document: dict[str, Any]) -> None:
    shown = {one["name"]: one["schema"] for one in document["paths"]["/orders"]["get"]["parameters"]}
    assert shown["limit"] == {"type": "integer", "format": "int32", "minimum": 1, "maximum": 100, "default": 25}
    assert shown["sort"]["enum"] == ["placed_at", "-placed_at", "total", "-total"]
    assert shown["sort"]["default"] == "-placed_at"
    assert shown["status"]["type"] == "array"
    assert shown["status"]["items"]["enum"] == ["placed", "partially_cancelled", "cancelled"]
    assert shown["placed_at[gte]"]["format"] == "date-time"
    assert shown["total[lt]"]["type"] == "string"
    of_products = {one["name"]: one["schema"] for one in document["paths"]["/products"]["get"]["parameters"]}
    assert of_products["in_stock"] == {"type": "boolean"}


def test_answers_and_problems_are_described(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        answers = operations["get"]["responses"]
        assert "$ref" in answers["200"]["content"]["application/json"]["schema"], path
        assert answers["503"]["content"]["application/problem+json"]["schema"]["$ref"].endswith("/ProblemView")
        assert "422" not in answers, path
        assert "Sync-Token" in answers["200"]["headers"]
        assert operations["get"]["summary"]
    one = document["paths"]["/users/{id}"]["get"]["responses"]
    assert {"200", "304", "400", "404", "410", "503"} <= set(one)
    assert "`gone`" in one["410"]["description"]
    assert "`invalid-cursor`" in document["paths"]["/orders"]["get"]["responses"]["400"]["description"]


def test_the_schemas_that_problems_refer_to_are_complete() -> None:
    schemas = problem_schemas()
    assert set(schemas) == {"ProblemView", "ProblemLine", "BodyError"}
    assert schemas["ProblemView"]["properties"]["errors"]["items"] == {"$ref": "#/components/schemas/BodyError"}


@pytest.mark.parametrize("model", [UsersParameters, ProductsParameters, OrdersParameters, UsersOrdersParameters])
def test_each_filter_of_a_model_has_its_condition_and_each_sort_its_column(model: type[PageParameters]) -> None:
    side = {"Users": users, "Products": products}.get(model.__name__.removesuffix("Parameters"), orders)
    filters = set(model.model_fields) - PageParameters.paging
    assert filters <= set(side.FILTERS)
    sorts = model.model_json_schema()["properties"]["sort"]["enum"]
    assert {sort.removeprefix("-") for sort in sorts} == set(side.SORTS)
