"""A declared dependency runs, wherever it is declared, and the request is read as strictly as without it."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from access.guard import OpenGuard
from contract.callers import PUBLIC
from contract.problems import Problem, problem_of
from contract.requests import BODY_BYTES_MAX, StrictRoute, add_routes, refuse_undeclared
from service.app import create_app
from tests.served import open_to_all

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json"}
OPEN = {"security": PUBLIC}


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str


async def check_caller(request: Request) -> str:
    if (caller := request.headers.get("x-caller")) is None:
        raise Problem("gone", "The request names no caller.")
    return caller


def a_router(*dependencies: object, on_route: tuple[object, ...] = ()) -> APIRouter:
    router = APIRouter(route_class=StrictRoute, dependencies=list(dependencies))  # type: ignore[arg-type]

    @router.post("/items/{id}", dependencies=list(on_route), openapi_extra=OPEN)  # type: ignore[arg-type]
    async def add_item(id: str, body: Item, request: Request) -> Response:
        return Response(f"{id} {body.name} {request.headers.get('x-caller')}")

    return router


def by_app() -> FastAPI:
    app = FastAPI(dependencies=[Depends(check_caller)])
    app.include_router(a_router())
    return app


def by_router() -> FastAPI:
    app = FastAPI()
    add_routes(app, a_router(Depends(check_caller)))
    return app


def by_include_router() -> FastAPI:
    app = FastAPI()
    app.include_router(a_router(), dependencies=[Depends(check_caller)])
    return app


def by_route() -> FastAPI:
    app = FastAPI()
    add_routes(app, a_router(on_route=(Depends(check_caller),)))
    return app


def by_signature() -> FastAPI:
    app, router = FastAPI(), APIRouter(route_class=StrictRoute)

    @router.post("/items/{id}", openapi_extra=OPEN)
    async def add_item(id: str, body: Item, caller: Annotated[str, Depends(check_caller)]) -> Response:
        return Response(f"{id} {body.name} {caller}")

    add_routes(app, router)
    return app


async def asked(app: FastAPI, path: str, body: str | bytes, **headers: str) -> httpx.Response:
    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return problem_of(error).response()

    app.state.guard = OpenGuard()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return await client.post(path, content=body, headers=JSON | headers)


MADE = [by_app, by_router, by_include_router, by_route, by_signature]


@pytest.mark.parametrize("make", MADE)
async def test_a_declared_dependency_runs(make: Callable[[], FastAPI]) -> None:
    assert (await asked(make(), "/items/7", '{"name": "tea"}')).status_code == 410
    answer = await asked(make(), "/items/7", '{"name": "tea"}', **{"X-Caller": "ada"})
    assert (answer.status_code, answer.text) == (200, "7 tea ada")


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/items/7?dry_run=1", '{"name": "tea"}', "unknown-parameter"),
        ("/items/7", '{"name": "tea", "name": "tea"}', "malformed-json"),
        ("/items/7", '{"name": NaN}', "malformed-json"),
        ("/items/7", "null", "validation-error"),
        ("/items/7", '{"name": "tea", "colour": "red"}', "validation-error"),
        ("/items/7", b" " * (BODY_BYTES_MAX + 1), "body-too-large"),
    ],
)
async def test_a_route_with_dependencies_reads_as_strictly(
    make: Callable[[], FastAPI], path: str, body: str | bytes, code: str
) -> None:
    answer = await asked(make(), path, body, **{"X-Caller": "ada"})
    assert answer.json()["code"] == code


async def test_a_path_parameter_has_the_type_that_the_endpoint_declares() -> None:
    app, router = FastAPI(), APIRouter(route_class=StrictRoute)

    @router.post("/items/{id}", openapi_extra=OPEN)
    async def add_item(id: UUID) -> Response:
        return Response(type(id).__name__)

    add_routes(app, router)
    assert (await asked(app, "/items/01890a5d-ac96-774b-bcce-b302099a8057", b"")).text == "UUID"
    assert (await asked(app, "/items/7", b"")).json()["code"] == "not-found"


@pytest.mark.parametrize(
    ("status", "code"), [(401, "unauthorized"), (403, "forbidden"), (409, "conflict"), (503, "service-unavailable")]
)
async def test_a_dependency_refuses_with_a_status_of_its_own(status: int, code: str) -> None:
    async def refuse() -> None:
        raise HTTPException(status, "Not today.", headers={"X-Reason": "closed"})

    app = create_app(open_to_all("postgresql://nowhere/orders"))
    app.state.guard = OpenGuard()
    add_routes(app, a_router(Depends(refuse)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        answer = await client.post("/items/7", json={"name": "tea"})
    document = answer.json()
    assert (answer.status_code, document["status"], document["code"]) == (status, status, code)
    assert (document["type"], document["detail"]) == ("about:blank", "Not today.")
    assert (answer.headers["content-type"], answer.headers["x-reason"]) == ("application/problem+json", "closed")
    assert document["retryable"] is ("retry-after" in answer.headers) is (status == 503)
    assert ("www-authenticate" in answer.headers) is (status == 401)


def test_dependencies_of_the_application_would_not_run_and_stop_the_start() -> None:
    app = FastAPI(dependencies=[Depends(check_caller)], openapi_url=None)
    add_routes(app, a_router())
    with pytest.raises(TypeError, match="dependencies would not run"):
        refuse_undeclared(app)


def test_a_router_that_was_included_is_refused_in_one_short_line() -> None:
    app = FastAPI(openapi_url=None)
    app.include_router(a_router())
    with pytest.raises(TypeError) as refused:
        refuse_undeclared(app)
    assert "add_routes" in str(refused.value)
    assert len(str(refused.value)) < 200
