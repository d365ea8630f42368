"""Routes beside the resources: a front page, the meaning of problems, health, and metrics."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Literal

import msgspec
from fastapi import APIRouter
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from contract.caching import NO_STORE
from contract.callers import PUBLIC, caller_of, scope
from contract.examples import shown
from contract.openapi import Documented, problem_content, problems
from contract.problem_types import PROBLEMS
from contract.problems import Problem
from contract.requests import StrictRoute
from contract.resources import Int32, ProjectionList
from query.database import Reads
from query.routes import get, json_response
from service.health.readiness import Condition, Health
from service.health.standings import mirrors_of, standings_of, view
from service.http.metrics import metrics_text
from service.http.state import State
from service.http.stopping import Stopping

_FRONT = {
    "service": "orders",
    "description": "Users, products, stock and orders, kept as events. See docs for every route.",
    "docs": "docs",
    "openapi": "openapi.json",
    "health": "readyz",
    "console": None,
}


class FrontPage(BaseModel):
    """The front page: the service, and the paths of its documentation, health and console."""

    model_config = shown(_FRONT)

    service: Literal["orders"]
    description: str
    docs: str
    openapi: str
    health: str
    console: str | None


class Alive(BaseModel):
    """The process answers."""

    model_config = shown({"status": "ok"})

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether commands are taken and projected, and by name what is in the way; with `degraded`, reads go on.

    Callers with the scope ops:read are given the reasons; all others an empty list.
    """

    model_config = shown(
        {"status": "ok", "not_ready": {}, "degraded": {}, "access": "keys"},
        {"status": "not ready", "not_ready": {"database": "cannot be reached"}, "degraded": {}, "access": "keys"},
    )

    status: Literal["ok", "degraded", "not ready"]
    not_ready: dict[str, str]
    degraded: dict[str, str]
    access: Literal["keys", "open"] = Field(description="`open`: no caller is asked for a key (NO_AUTH)")


class ProblemMeaning(BaseModel):
    """The meaning of a problem, and what to do about it."""

    model_config = shown(
        {
            "type": "/problems/gone",
            "title": "Gone",
            "status": 410,
            "code": "gone",
            "retryable": False,
            "meaning": "The user has been deleted.",
            "fix": "Stop using this id.",
        }
    )

    type: str
    title: str
    status: Int32
    code: str
    retryable: bool
    meaning: str
    fix: str


def router(
    reads: Reads,
    counted: Callable[[], list[Metric]],
    health: Health,
    stopping: Stopping,
    prefix: str,
    *,
    is_open: bool,
    has_console: bool = False,
) -> APIRouter:
    """The routes. `counted` gives the figures of this process, or of all processes behind the port.

    `prefix` is what a proxy puts in front of their paths. `is_open`: no caller is asked for a key.
    """
    routes = APIRouter(route_class=StrictRoute, tags=["operations"])
    state = State(reads, health.workers)

    @get(routes, "/", answers=FrontPage, security=PUBLIC, synced=False)
    async def get_front_page() -> Response:
        """Say what this service is, and where its documentation is. The paths are relative to this one."""
        return JSONResponse(_FRONT | {"console": "console/" if has_console else None}, headers=NO_STORE)

    @get(routes, "/healthz", answers=Alive, security=PUBLIC, synced=False)
    async def get_health() -> Response:
        """Say that the process answers: whether it should be restarted, not whether it is ready."""
        return JSONResponse({"status": "ok"}, headers=NO_STORE)

    not_ready: Documented = {
        503: {
            "description": "Not ready, for the reasons given; or `overloaded`",
            "model": Readiness,
            "content": {"application/json": {}, **problem_content("overloaded")},
        }
    }

    @get(routes, "/readyz", answers=Readiness, security=scope("ops:read", optional=True), synced=False, also=not_ready)
    async def get_readiness(request: Request) -> Response:
        """Say whether commands are taken and projected; 503 with the reasons when not, or when it is to stop."""
        if stopping.is_asked:
            found = Condition({"stopping": "SIGTERM has come: the port is about to close"}, {})
        else:
            found = await health.condition()
        status = "not ready" if found.not_ready else "degraded" if found.degraded else "ok"
        reasons = found if "ops:read" in caller_of(request).scopes else Condition({}, {})
        shown = {"status": status, **reasons._asdict(), "access": "open" if is_open else "keys"}
        return JSONResponse(shown, 503 if found.not_ready else 200, NO_STORE)

    metered = {"security": scope("metrics:read")}

    @routes.head("/metrics", include_in_schema=False, openapi_extra=metered)
    @routes.get(
        "/metrics",
        response_class=Response,
        openapi_extra=metered,
        responses={
            200: {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}},
            **problems("unknown-parameter", security=metered["security"]),
        },
    )
    async def get_metrics() -> Response:
        """Metrics in Prometheus' text format."""
        text = await asyncio.to_thread(metrics_text, counted, await state.families())
        return Response(text, headers=NO_STORE, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @get(
        routes, "/projections", answers=ProjectionList, security=scope("ops:read"), errors=["unavailable"], synced=False
    )
    async def list_projections() -> Response:
        """Each projection's position, how far it is behind the head of the log, and how far a rebuild of it is.

        The mirrors of projections in other databases follow.
        """
        standings = await standings_of(reads)
        mirrors = await mirrors_of(reads)
        body = msgspec.json.encode({"data": [view(it) for it in (*standings, *mirrors)]})
        return json_response(body, min(it.position for it in standings))

    @get(routes, "/problems/{code}", answers=ProblemMeaning, security=PUBLIC, synced=False)
    async def get_problem_type(code: str) -> Response:
        """The meaning of a problem, and what to do about it."""
        kind = PROBLEMS.get(code)
        if kind is None:
            raise Problem("not-found", f"There is no problem called {code[:100]!r}.")
        return JSONResponse({"type": f"{prefix}/problems/{code}", "code": code, **asdict(kind)}, headers=NO_STORE)

    return routes
