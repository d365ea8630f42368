"""The API: builds the engines and hands them to the two sides, which know nothing of each other."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
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
from command.api import Commands
from command.metrics import CommandMetrics, WriterMetrics
from command.writer import Writer
from contract.observation import observation_of
from contract.openapi import problem_schemas, refuse_null_bodies, security_schemes, type_ids_in_paths
from contract.problems import Problem, problem_of
from contract.requests import add_routes, refuse_undeclared
from projector.bell import Bell
from query.database import Reads
from query.waiting import WaitingReads
from service.access import Access
from service.errors import OperatorError
from service.health.readiness import Health
from service.http import api_reference, pages
from service.http.connections import Connections
from service.http.console import console_of, mount
from service.http.metrics import Counted, HttpMetrics, new_registry
from service.http.observing import Observing
from service.http.prefix import Prefixed
from service.http.request_log import RequestLog
from service.http.sharing import SharedFigures
from service.http.stopping import Stopping
from service.projections import TAGS, routers
from service.settings import Settings
from service.tracing import traces_of
from service.version import VERSION

if TYPE_CHECKING:
    from service.otel import Traces

# Long-lived objects are many (routes, models, states) and garbage in cycles is rare: the collector looks less often.
GC_THRESHOLDS = (50_000, 20, 50)

# What the OpenAPI document says of the whole.
DESCRIBED: dict[str, Any] = {
    "title": "orders",
    "version": VERSION,
    "summary": "An event-sourced order service.",
    "description": (
        "Commands (POST, PUT, DELETE) append events to a log. Queries (GET) read tables that follow the log a moment "
        "later; send the `Sync-Token` of your last answer to read what you wrote. Send an `Idempotency-Key` with a "
        "POST, and it can be repeated safely. An `X-Request-Id` comes back on the answer. All errors are problem "
        "documents (RFC 9457)."
    ),
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

# What DOCS=off leaves out.
HIDDEN = {"/docs", "/openapi.json", "/static/{version}/{name}", "/problems/{code}"}

# What a page of another origin may send, and may read of an answer.
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

log = logging.getLogger(__name__)


def create_app(settings: Settings, figures: Path | None = None) -> FastAPI:  # noqa: PLR0915 - the wiring, in one place
    """The application for these settings. It needs `database_url` and `redis_url`, and connects when it starts.

    `figures` is the directory in which several processes behind one port share their metrics.
    """
    if settings.database_url is None or settings.redis_url is None:
        raise OperatorError("DATABASE_URL and REDIS_URL must be set", exit_code=2)
    bell = Bell(settings.redis_url)
    registry = new_registry()
    traces = traces_of(settings, "orders-api")
    writer = Writer(settings.database_url, bell.ring, metrics=WriterMetrics(registry))
    reads = Reads(settings.query_database_url or settings.database_url)
    health = Health(settings, bell, writer)
    stopping = Stopping(settings.shutdown_delay)
    prefix = settings.root_path or ""
    waiting = WaitingReads(registry=registry)
    connections = Connections(
        lambda: writer.waiting + waiting.count, writer.is_full, writer.take_no_more, prefix=prefix
    )

    command_metrics, http_metrics = CommandMetrics(), HttpMetrics()
    _register(registry, command_metrics, http_metrics, Counted(writer, bell, connections), of_process=not figures)

    def counted() -> list[Metric]:
        return list(registry.collect())

    guarding = Access(settings)
    console = console_of(settings, health, reads, guarding.guard) if settings.console else None
    shared = SharedFigures(figures, counted) if figures else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            if traces:
                stack.push_async_callback(asyncio.to_thread, traces.stop)
            bell.start()
            stack.callback(bell.stop)
            await writer.start()
            stack.push_async_callback(writer.stop)
            await stack.enter_async_context(reads)
            await stack.enter_async_context(health)
            await stack.enter_async_context(guarding.kept_current())
            await stack.enter_async_context(connections)
            if console:
                stack.enter_context(console)
            if shared:
                await stack.enter_async_context(shared.published())
            stopping.listen()
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            yield {"connections": connections}

    # No openapi_url: service/http/api_reference.py serves the document and the page that shows it.
    app = _Api(**DESCRIBED, lifespan=lifespan, redirect_slashes=False, openapi_url=None)
    app.cors_origins = settings.cors_origins
    app.prefix = prefix
    app.traces = traces
    app.observing = http_metrics, RequestLog(settings.log_format)
    commands = Commands(writer, command_metrics)
    past = timeline.routes.PastAnswers(reads, waiting)
    app.state.guard = guarding.guard
    # The most frequent requests come first: routes are tried in order.
    for routes in (
        command.orders.router(commands),
        *routers(reads, waiting, past),
        command.products.router(commands),
        command.users.router(commands),
        feed.routes.router(reads, waiting),
        *timeline.routes.routers(past),
        access.routes.router(settings.database_url, guarding.holder),
        feed.acts.router(reads, waiting),
        pages.router(
            reads,
            shared.total if shared else counted,
            health,
            stopping,
            prefix,
            is_open=guarding.is_open,
            has_console=console is not None,
        ),
        api_reference.router(app.openapi),
    ):
        add_routes(app, routes)
    _hide_docs(app, settings)
    refuse_undeclared(app)
    if console:
        mount(app, console)
    _answer_problems(app, prefix)
    return app


def _register(registry: CollectorRegistry, *collectors: Collector, of_process: bool) -> None:
    for collector in collectors:
        registry.register(collector)
    if of_process:
        ProcessCollector(registry=registry)  # several processes would be added up


def _hide_docs(app: FastAPI, settings: Settings) -> None:
    if settings.docs == "off":
        app.router.routes[:] = [it for it in app.router.routes if getattr(it, "path", "") not in HIDDEN]


class _Api(FastAPI):
    """Documents, beside what FastAPI finds in the routes, what every route's problems look like.

    `cors_origins`: the origins whose pages may call the API, with commas between them.
    `prefix`: what a proxy puts in front of the API's paths.
    `observing`: the metrics and the log of its requests. `traces`: if some of them are recorded.
    """

    cors_origins: str | None = None
    prefix = ""
    observing: tuple[HttpMetrics, RequestLog]
    traces: "Traces | None" = None

    def build_middleware_stack(self) -> ASGIApp:
        """The application. CORS is around all of it, so that a page can read a 500 too.

        This replaces FastAPI's stack, whose layers answer faults, limit bodies and close what dependencies have opened:
        Observing and the routes do so here, and each layer costs a request a few microseconds.
        """
        handlers = dict(self.exception_handlers)
        failed = handlers.pop(Exception)
        inner: ASGIApp = ExceptionMiddleware(self.router, handlers)
        if self.traces:
            inner = self.traces.around(inner)
        stack: ASGIApp = Observing(inner, failed, *self.observing)
        if self.prefix:
            stack = Prefixed(stack, self.prefix)
        if not self.cors_origins:
            return stack
        return CORSMiddleware(stack, allow_origins=self.cors_origins.split(","), **CORS)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        document["components"]["schemas"].update(problem_schemas())
        document["components"]["securitySchemes"] = security_schemes()
        refuse_null_bodies(document)
        type_ids_in_paths(document)
        if self.prefix:
            document["servers"] = [{"url": self.prefix}]
        return document


def _answer_problems(app: FastAPI, prefix: str) -> None:
    """Make every error a problem document."""

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
            # FastAPI names the methods of an included router's route in the error.
            allowed = ", ".join(_methods(app, request)) or (error.headers or {}).get("Allow", "")
            detail = f"{request.url.path} does not take {request.method}."
            return answer(request, Problem("method-not-allowed", detail, headers={"Allow": allowed}))
        if error.status_code == 404:
            return answer(request, Problem("not-found", f"There is nothing at {request.url.path[:200]}."))
        return answer(request, Problem("malformed-json", str(error.detail)))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        # Nobody is there to read it, and nobody need read of it: a request that did not arrive is no fault of ours.
        return Problem("request-timeout", "The request did not arrive.").response()

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        known_as = observation_of(request.scope).request_id.decode()
        log.error("%s %a failed (%s)", request.method, request.url.path, known_as, exc_info=error)
        return answer(request, Problem("internal-error", "The service failed on this request."))


def _methods(app: FastAPI, request: Request) -> list[str]:
    """All methods of the path, whichever routes they are on."""
    methods: set[str] = set()
    for route in app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods)
