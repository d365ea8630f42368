"""The console as an application of its own, which the service mounts at /console."""

import logging
from collections.abc import Callable
from urllib.parse import parse_qsl

from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from access.hosts import is_of_another_site
from console.database import CONNECTIONS_MAX, Database, Unanswered
from console.desk import Desk
from console.gate import Gate, demand_scope
from console.pages import acting, event, events, operations, overview, records, resource, theme
from console.parts import Parts
from console.pulse import Heart
from console.rendering import Renderer
from console.static import static
from contract.observation import observation_of, path_shown
from contract.requests import StrictRequest

FORM_BYTES_MAX = 64 * 1024

_TITLES = {400: "Not understood", 403: "Not allowed", 404: "Not found", 409: "It has changed"}

Page = Callable[[Desk, Request], Response]

log = logging.getLogger(__name__)

# Every page is a plain function that runs in a thread: neither a statement nor a long page holds up the event loop.
PAGES: dict[str, Page] = {
    "/": overview.show,
    "/events": events.show,
    "/events/{position:int}": event.show,
    "/find": resource.find,
    "/projections": operations.projections,
    "/parked": operations.parked,
    "/jobs": records.jobs,
    "/jobs/{id}": records.job,
    "/replay": acting.confirm_replay,
    "/skip": acting.confirm_skip,
    "/imports": records.imports,
    "/audit": records.audit,
    "/keys": records.keys,
    "/doctor": operations.doctor,
    "/configuration": operations.configuration,
    "/{kind}/{id}": resource.show,
}
# These show what the log says, so they need the scope that reading it over HTTP needs.
OF_THE_LOG = {"/events", "/events/{position:int}", "/find", "/{kind}/{id}"}
FORMS: dict[str, Page] = {"/theme": theme.choose, "/jobs": acting.start}


class Console:
    """The pages. Open `database` with `with` before the first request."""

    PATH = "/console"

    def __init__(self, parts: Parts) -> None:
        self.database = Database(parts.database_url)
        self._desk = Desk(parts, self.database, Heart(parts, self.database), Renderer(self.PATH, parts.prefix))
        self._threads = CapacityLimiter(CONNECTIONS_MAX)
        self._gate = Gate(parts, self._desk.renderer)
        needed = dict.fromkeys(OF_THE_LOG, "events:read")
        routes = [Route(path, self._endpoint(page, needed.get(path)), methods=["GET"]) for path, page in PAGES.items()]
        routes += [Route(path, self._endpoint(form), methods=["POST"]) for path, form in FORMS.items()]
        # These need no key.
        self._open = [
            Route("/static/{version}/{name}", static),
            Route("/sign-in", self._visit, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
        ]
        self._router = Router(self._open + routes)
        handlers = {Unanswered: self._unanswered, HTTPException: self._refused, Exception: self._failed}
        # Starlette's own stack would answer a fault with plain text, and raise it again.
        self._app = ExceptionMiddleware(self._admitted, handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        with StrictRequest(scope, receive) as request:
            if request.method == "POST" and is_of_another_site(scope):
                raise HTTPException(403, "Another site sent this form.")
            refusal: Response | None = None
            if all(route.matches(scope)[0] != Match.FULL for route in self._open):
                refusal = await self._gate.refusal(request)
            if request.method != "POST" and refusal is None:
                await request.refuse_body()
        await (refusal or self._router)(scope, receive, send)

    async def _visit(self, request: Request) -> Response:
        """Sign in by a link, or ask for a key. The token is no part of the path, which the request log shows."""
        token = request.query_params.get("token")
        if token is not None and request.method == "GET":  # a HEAD that only looks must not use it up
            return await self._gate.sign_in_by_link(request, token)
        return await self._gate.refusal(request) or self._desk.renderer.redirect()

    async def _sign_in(self, request: Request) -> Response:
        return await self._gate.sign_in(request, (await _form(request)).get("key", ""))

    async def _sign_out(self, request: Request) -> Response:
        await _form(request)
        return self._gate.sign_out()

    async def _unanswered(self, request: Request, error: Exception) -> Response:
        return self._desk.renderer.page(request, "trouble.html", 503, title="No answer", sentence=str(error))

    async def _failed(self, request: Request, error: Exception) -> Response:
        if isinstance(error, ClientDisconnect):
            raise error  # the service did not fail: it answers this itself, as for its other routes
        seen = observation_of(request.scope)
        seen.code = "internal-error"
        known_as = seen.request_id.decode()
        log.error("%s %s failed (%s)", request.method, path_shown(request.scope["raw_path"]), known_as, exc_info=error)
        sentence = f"The service failed on this page. The log of the API says why: look for {known_as}."
        page = self._desk.renderer.page(request, "trouble.html", 500, title="A fault", sentence=sentence)
        page.headers["X-Request-Id"] = known_as
        return page

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        title = _TITLES.get(error.status_code, "Refused")
        # A path without a page has no other detail than the name of its status.
        sentence = "There is no such page." if error.detail == "Not Found" else error.detail
        page = self._desk.renderer.page(request, "trouble.html", error.status_code, title=title, sentence=sentence)
        page.headers.update(error.headers or {})
        return page

    def _endpoint(self, page: Page, scope: str | None = None) -> Callable[[Request], object]:
        async def endpoint(request: Request) -> Response:
            if scope:
                demand_scope(request, scope)
            if request.method == "POST":
                request.state.form = await _form(request)
            return await to_thread.run_sync(page, self._desk, request, limiter=self._threads)

        return endpoint


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; the last one of a name counts."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise HTTPException(413, "The form is too large.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1000))
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
