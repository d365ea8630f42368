"""How what a declaration refuses becomes one problem."""

from typing import Any

import msgspec
import pytest
from fastapi.exceptions import RequestValidationError

from contract.problem_types import PROBLEMS
from contract.problems import Problem, problem_of


def refused(*errors: tuple[tuple[str | int, ...], str, str]) -> Problem:
    return problem_of(RequestValidationError([{"loc": loc, "type": kind, "msg": msg} for loc, kind, msg in errors]))


def document(problem: Problem) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(problem.response().body)
    return found


def test_a_problem_lists_all_errors_of_a_body_with_json_pointers() -> None:
    problem = refused(
        (("body", "items", 3, "quantity"), "greater_than", "must be more"),
        (("body", "a/b~c"), "extra_forbidden", "Extra inputs are not permitted"),
        (("body",), "missing", "Field required"),
        (("body", "email"), "value_error", "Value error, must be an address"),
    )
    assert document(problem) == {
        "type": "/problems/validation-error",
        "title": "Validation error",
        "status": 422,
        "detail": problem.detail,
        "code": "validation-error",
        "retryable": False,
        "errors": [
            {"pointer": "/items/3/quantity", "code": "greater-than", "detail": "must be more"},
            {"pointer": "/a~1b~0c", "code": "unknown-field", "detail": "Extra inputs are not permitted"},
            {"pointer": "", "code": "missing", "detail": "the body is missing: it must be an object"},
            {"pointer": "/email", "code": "value-error", "detail": "must be an address"},
        ],
    }


@pytest.mark.parametrize(
    ("place", "kind", "status", "code"),
    [
        (("query", "statu"), "extra_forbidden", 400, "unknown-parameter"),
        (("query", "limit"), "int_parsing", 400, "invalid-parameter"),
        (("path", "id"), "uuid_parsing", 404, "not-found"),
        (("header", "if-match"), "string_type", 400, "invalid-header"),
    ],
)
def test_the_place_decides_the_problem(place: tuple[str, ...], kind: str, status: int, code: str) -> None:
    problem = refused((place, kind, "wrong"), (("body", "x"), "missing", "Field required"))
    assert (problem.status_code, problem.code) == (status, code)


def test_names_of_the_callers_own_cannot_break_the_answer() -> None:
    problem = refused((("body", "\ud800" + "x" * 5000), "extra_forbidden", "no"))
    assert document(problem)["errors"][0]["pointer"] == "/?" + "x" * 99
    assert document(refused((("query", "\ud800"), "extra_forbidden", "no")))["parameter"] == "?"


def test_a_429_and_a_503_always_say_when_to_come_back() -> None:
    for code, kind in PROBLEMS.items():
        response = Problem(code, "so it is").response()
        assert ("retry-after" in response.headers) is (kind.status in {429, 503})
        assert document(Problem(code, "so it is"))["retryable"] is kind.retryable
