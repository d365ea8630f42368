"""The API: its routes, the document about them, and the layers around them. service/api_process.py has the parts."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp

import access.routes
import command.orders
import command.products
import command.users
import feed.acts
import feed.routes
import timeline.routes
from contract.observation import observation_of, path_shown
from contract.openapi import complete
from contract.problems import Problem, problem_of, problem_of_status
from contract.requests import add_routes, refuse_undeclared
from service.api_process import ApiProcess
from service.http import api_reference, pages
from service.http.console import mount
from service.http.observing import Observing
from service.http.prefix import Prefixed
from service.projections import TAGS, routers
from service.settings import Settings
from service.version import VERSION

# The OpenAPI document's description of the whole API.
DESCRIBED: dict[str, Any] = {
    "title": "orders",
    "version": VERSION,
    "summary": "An event-sourced order service.",
    "description": (
        "Commands (POST, PUT, DELETE) append events to a log. Queries (GET) read tables that follow the log a moment "
        "later; send the `Sync-Token` of your last answer to read what you wrote. Send an `Idempotency-Key` with a "
        "POST, and it can be repeated safely. `?dry_run=true` answers what a command (`x-dry-run`) would do, and does "
        "nothing. An `X-Request-Id` comes back on the answer. All errors are problem "
        "documents (RFC 9457)."
    ),
    "contact": {"name": "the orders authors"},
    "license_info": {"name": "MIT", "identifier": "MIT"},
    "openapi_tags": [
        {"name": "orders", "description": "Place, cancel and read orders."},
        {"name": "products", "description": "Add, change, restock, discontinue and read products."},
        {"name": "users", "description": "Register, change, delete and read users."},
        *TAGS,
        {"name": "events", "description": "The log, in order and without holes, and the events of one resource."},
        {"name": "operations", "description": "Health, projections, metrics, and the meaning of problems."},
    ],
}

# The paths that DOCS=off removes.
HIDDEN = {"/docs", "/openapi.json", "/static/{version}/{name}", "/problems/{code}"}

# The methods and headers that a page of another origin may send, and the headers that it may read.
CORS: dict[str, Any] = {
    "allow_methods": ("DELETE", "GET", "HEAD", "POST", "PUT"),
    "allow_headers": ("*",),
    "expose_headers": (
        "Command-Id",
        "Content-Location",
        "ETag",
        "Idempotency-Replayed",
        "Link",
        "Location",
        "Projection-State",
        "RateLimit",
        "RateLimit-Policy",
        "Retry-After",
        "Sync-Token",
        "WWW-Authenticate",
        "X-Request-Id",
    ),
}

# service/tracing.py traces requests. FastAPI's own telemetry, even without a provider, looks for one in each request.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}

# How gunicorn's workers say that the application cannot be loaded: after another code it starts them again for ever.
_NOT_LOADED = 4

log = logging.getLogger(__name__)

if any(it.partition(":")[0].removesuffix(".py").replace("/", ".").endswith(__name__) for it in sys.argv):
    # Other servers misread what service/http/connections.py reads right, such as a body behind an offered upgrade.
    sys.stderr.write("orders: only `orders serve` (or `orders up`) serves the API: run it in place of this server\n")
    sys.exit(_NOT_LOADED)


def create_app(settings: Settings, figures: Path | None = None) -> FastAPI:
    """The application for these settings. It needs `database_url` and `redis_url`, and connects when it starts.

    `figures` is the directory in which several processes behind one port share their metrics.
    """
    process = ApiProcess(settings, figures)
    app = _Api(process, settings.cors_origins)
    app.state.guard = process.access.guard
    for routes in _routers(process):
        add_routes(app, routes)
    add_routes(app, api_reference.router(app.openapi))
    if settings.docs == "off":
        app.router.routes[:] = [it for it in app.router.routes if getattr(it, "path", "") not in HIDDEN]
    refuse_undeclared(app)
    if process.console:
        mount(app, process.console)
    _answer_problems(app, process.prefix)
    return app


def _routers(process: ApiProcess) -> Iterator[APIRouter]:
    """The routes of the API. The most frequent requests come first: routes are tried in order."""
    reads, waiting, commands = process.reads, process.waiting, process.commands
    past = timeline.routes.PastAnswers(reads, waiting)
    yield command.orders.router(commands)
    yield from routers(reads, waiting, past)
    yield command.products.router(commands)
    yield command.users.router(commands)
    yield feed.routes.router(reads, waiting)
    yield from timeline.routes.routers(past)
    yield access.routes.router(process.database_url, process.access.holder)
    yield feed.acts.router(reads, waiting)
    yield pages.router(
        reads,
        process.figures,
        process.health,
        process.stopping,
        process.prefix,
        is_open=process.access.is_open,
        has_console=process.console is not None,
    )


class _Api(FastAPI):
    """Documents, beside what FastAPI finds in the routes, what every route's problems look like.

    `cors_origins`: the origins whose pages may call the API, with commas between them.
    """

    def __init__(self, process: ApiProcess, cors_origins: str | None) -> None:
        # No openapi_url: service/http/api_reference.py serves the document and the page that shows it.
        super().__init__(
            **DESCRIBED, lifespan=process.running, redirect_slashes=False, openapi_url=None, telemetry=_NO_TELEMETRY
        )
        self._process = process
        self._cors_origins = cors_origins

    def build_middleware_stack(self) -> ASGIApp:
        """The application. CORS is around all of it, so that a page can read a 500 too.

        This replaces FastAPI's stack, whose layers answer faults, limit bodies and close what dependencies have opened:
        Observing and the routes do so here, and each layer costs a request a few microseconds.
        """
        process = self._process
        stack: ASGIApp = Observing(self.router, self.exception_handlers, process.http_metrics, process.request_log)
        if process.traces:
            stack = process.traces.around(stack)
        if process.prefix:
            stack = Prefixed(stack, process.prefix)
        if not self._cors_origins:
            return stack
        return CORSMiddleware(stack, allow_origins=self._cors_origins.split(","), **CORS)

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        complete(document, self._process.prefix)
        return document


def _answer_problems(app: FastAPI, prefix: str) -> None:

    def answer(request: Request, problem: Problem) -> Response:
        seen = observation_of(request.scope)
        seen.code = problem.code
        response = problem.response(seen.request_id, prefix)
        response.raw_headers.extend(request.scope.get("own_headers", ()))
        return response

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, problem_of(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            detail = f"{request.url.path} does not take {request.method}."
            allowed = {"Allow": ", ".join(_methods(app, request))}
            return answer(request, Problem("method-not-allowed", detail, headers=allowed))
        if error.status_code == 404:
            return answer(request, Problem("not-found", f"There is nothing at {request.url.path[:200]}."))
        return answer(request, problem_of_status(error))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        # The client is gone and reads no answer. This is not logged as an error, because the service did not fail.
        return Problem("request-timeout", "The request did not arrive.").response()

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        known_as = observation_of(request.scope).request_id.decode()
        log.error("%s %s failed (%s)", request.method, path_shown(request.scope["raw_path"]), known_as, exc_info=error)
        return answer(request, Problem("internal-error", "The service failed on this request."))


def _methods(app: FastAPI, request: Request) -> list[str]:
    """All methods of the path, whichever routes they are on."""
    methods: set[str] = set()
    for route in app.routes:
        found = getattr(route, "methods", None) or set()
        # A route that takes TRACE refuses all of its methods.
        if "TRACE" not in found and route.matches(request.scope)[0] is not Match.NONE:
            methods |= found
    return sorted(methods)
