"""What every service has beside its resources: the meaning of its problems, and whether it lives."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from contract.problems import PROBLEMS, Problem
from contract.requests import StrictRoute


def router() -> APIRouter:
    """The routes."""
    routes = APIRouter(route_class=StrictRoute, tags=["service"])

    @routes.api_route("/healthz", methods=["GET", "HEAD"])
    async def alive(request: Request) -> Response:
        """Say that the process answers."""
        return JSONResponse({"status": "ok"})

    @routes.api_route("/problems/{code}", methods=["GET", "HEAD"])
    async def problem_type(code: str, request: Request) -> Response:
        """What a problem means, and what to do about it."""
        kind = PROBLEMS.get(code)
        if kind is None:
            raise Problem("not-found", f"There is no problem called {code[:100]!r}.")
        return JSONResponse(
            {
                "type": f"/problems/{code}",
                "title": kind.title,
                "status": kind.status,
                "code": code,
                "retryable": kind.retryable,
                "meaning": kind.meaning,
                "fix": kind.fix,
            }
        )

    return routes
