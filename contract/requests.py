"""Routes that read their requests strictly: who may call, bodies with a limit, no unknown query parameters."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from typing import Any, Self
from urllib.parse import parse_qsl

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contract.caching import SharedFile
from contract.callers import admit, requirement_of
from contract.observation import observation_of
from contract.problems import ERRORS_MAX, Problem
from contract.strict_json import parse_json

BODY_BYTES_MAX = 1024 * 1024
# To read a body of 1 MiB takes up to 0.2 s of CPU time. A thread reads such bodies, one after the other, so that the
# requests of others are answered meanwhile.
LARGE_BODY_BYTES = 16 * 1024
_large_bodies = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")
# So many requests with a large body are under way in a process, because 500 would fill its memory. Others wait, and the
# server reads no more of them meanwhile.
LARGE_BODIES_MAX, LARGE_BODY_SECONDS_MAX = 16, 5
_places = asyncio.Semaphore(LARGE_BODIES_MAX)
_DEPTH_MAX = 8  # deeper than any body's model
_READING = {"GET", "HEAD"}


class StrictRequest(Request):
    """A request whose body is capped while it streams in, and whose JSON has no loopholes."""

    _has_place = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_place:
            _places.release()

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            # Not `stream`: it keeps a piece until the next one comes, also of a body that waits or is refused.
            body, more = bytearray(), True
            if int(self.headers.get("content-length", 0)) > LARGE_BODY_BYTES:
                await self._take_place(body)
            while more:
                more = await self._receive_piece(body)
                if len(body) > BODY_BYTES_MAX:
                    # The server drops the rest as it arrives, for a limited time. Closing now would reset the
                    # connection, and a client that is still sending would never see this answer.
                    raise Problem("body-too-large", f"The body has more than {BODY_BYTES_MAX} bytes.")
                if len(body) > LARGE_BODY_BYTES:
                    await self._take_place(body)
            self._body = bytes(body)
            if self.method in _READING:
                if self._body.strip() not in {b"", b"{}", b"[]"}:  # some clients send {} or [] (PHP) with each
                    raise Problem("malformed-request", f"{self.method} takes no body: send filters in the query.")
            elif self._body:
                self._check_encoding()
                self._check_media_type()
            elif "transfer-encoding" in self.headers or self._has_no_length():
                # Varnish ends a body that its client has broken off. Without a body, a whole order would be cancelled.
                raise Problem("malformed-json", "A body was announced, and is empty: send {}, or no body.")
        return self._body

    async def refuse_body(self) -> None:
        """Wait for the body of a GET, if it has one. Raises Problem unless it is empty or {}: it may be filters."""
        if "content-length" in self.headers or "transfer-encoding" in self.headers:
            await self.body()

    async def json(self, names: Collection[str] | None = None) -> Any:
        """The body as JSON. Raises Problem.

        `names` are the members that the body's model knows. Of the others a large body keeps the first ERRORS_MAX + 1.
        """
        body = await self.body()
        if len(body) < LARGE_BODY_BYTES:
            document = parse_json(body)
        else:
            document = await asyncio.get_running_loop().run_in_executor(_large_bodies, _read_large, body, names)
        if document is None:
            error = {"pointer": "", "code": "null", "detail": "must not be null"}
            raise Problem("validation-error", "The body must not be null: leave it out instead.", errors=[error])
        return document

    async def _receive_piece(self, body: bytearray) -> bool:
        """Add the next piece of the body; returns whether there are more. Raises ClientDisconnect."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        return bool(message.get("more_body", False))

    async def _take_place(self, body: bytearray) -> None:
        if self._has_place:
            return
        try:
            async with asyncio.timeout(LARGE_BODY_SECONDS_MAX):
                self._has_place = await _places.acquire()
        except TimeoutError:
            body.clear()
            while await self._receive_piece(body):  # a client may read the answer only when it has sent all
                body.clear()
            raise Problem("overloaded", "Too many large bodies are under way; this one was not tried.") from None

    def _has_no_length(self) -> bool:
        """Whether a POST has a type and no length (RFC 9110 8.6): `curl -L -X POST` has lost its body in a redirect."""
        return self.method == "POST" and "content-type" in self.headers and "content-length" not in self.headers

    def _check_encoding(self) -> None:
        for encoding in self.headers.getlist("content-encoding"):
            if encoding.strip().lower() != "identity":
                raise Problem(
                    "unsupported-media-type",
                    f"The Content-Encoding is {encoding[:100]!r}. Send the body without compression.",
                    headers={"Accept-Encoding": "identity"},
                )

    def _check_media_type(self) -> None:
        kind = ", ".join(self.headers.getlist("content-type"))
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise Problem("unsupported-media-type", f"The Content-Type is {kind or 'missing'}, not application/json.")


class _Nothing(BaseModel):
    """The body of a command that takes none: it may be absent, or {}."""

    model_config = ConfigDict(extra="forbid")


class StrictRoute(APIRoute):
    """A route that reads its request strictly.

    Its `openapi_extra` declares who may call it, as OpenAPI's `security`: see contract/callers.py. The caller is let in
    before anything of the request is read. A route that declares nothing cannot be made.

    A plain endpoint takes its path parameters as text, `request`, and `body` if it has one. The route calls it
    directly: FastAPI's resolving of dependencies would cost as much as placing an order does. FastAPI runs every other
    endpoint, such as one with dependencies, on the same strict request.
    """

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Response]], **options: Any) -> None:
        # `place_order` is placeOrder: generated clients call their methods so, and paths may change.
        first, *others = str(getattr(endpoint, "__name__", "")).split("_")
        options["operation_id"] = options.get("operation_id") or first + "".join(map(str.title, others))
        super().__init__(path, endpoint, **options)
        required = requirement_of(self.openapi_extra)
        if required is None:
            raise TypeError(f"{path} does not declare who may call it: openapi_extra needs `security`")
        self.required = required
        documented = (self.openapi_extra or {}).get("parameters", ())
        self._takes_query = any(one["in"] == "query" for one in documented)
        self._known = {"dry_run"} if "x-dry-run" in (self.openapi_extra or {}) else set()
        self._takes_request = self.dependant.request_param_name is not None
        # A DELETE takes no body. It is read all the same: a DELETE whose body breaks off deletes nothing.
        model: Any = _Nothing | None if self.methods == {"DELETE"} else None
        if self.body_field:
            model = self.body_field.field_info.annotation
        self._body = TypeAdapter(model) if model else None
        self._names = frozenset(_names_of(self._body.json_schema())) if self._body else frozenset()
        if self._is_plain():
            self.app = self._serve
        else:
            # FastAPI closes here what a dependency has opened. Its own stack does so for every request.
            self.app = AsyncExitStackMiddleware(self.app)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            await admit(request.scope, self.required)
            self._check_target(request)
            with StrictRequest(request.scope, request.receive) as strict:
                if self._body is None:
                    await strict.refuse_body()
                return _finished(request.scope, await handler(strict))

        return handle

    def _is_plain(self) -> bool:
        needs = self.dependant
        names = {"request", "body", *self.param_convertors}
        texts = all(parameter.field_info.annotation is str for parameter in needs.path_params)
        return texts and not needs.dependencies and signature(self.endpoint).parameters.keys() <= names

    def _check_target(self, request: Request) -> None:
        if "\0" in request.scope["path"]:  # PostgreSQL stores no NUL
            raise Problem("not-found", "There is nothing at a path with the character NUL.")
        # A route that takes query parameters checks them itself: it only documents them.
        if request.scope["query_string"] and not self._takes_query:
            refuse_parameters(request, self._known)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await admit(scope, self.required)
        with StrictRequest(scope, receive) as request:
            self._check_target(request)
            arguments: dict[str, Any] = dict(scope["path_params"])
            if self._takes_request:
                arguments["request"] = request
            body = await (self._read_body(request, self._body) if self._body else request.refuse_body())
            if self.body_field:
                arguments["body"] = body
            response = _finished(scope, await self.endpoint(**arguments))
        await response(scope, receive, send)

    async def _read_body(self, request: StrictRequest, model: TypeAdapter[Any]) -> Any:
        """The body as its model. Raises Problem, and RequestValidationError when it breaks the model's rules."""
        document = None
        if await request.body():
            document = await request.json(self._names)
        try:
            return model.validate_python(document)
        except ValidationError as error:
            raise RequestValidationError(self._errors(error, document)) from None

    def _errors(self, error: ValidationError, document: Any) -> list[dict[str, Any]]:
        if document is None:
            return [{"type": "missing", "loc": ("body",), "msg": ""}]
        found = error.errors(include_url=False, include_context=False, include_input=False)
        return [{**one, "loc": ("body", *one["loc"])} for one in found[: ERRORS_MAX + 1]]


def _names_of(schema: Any) -> Iterator[str]:
    """The names of all members in a JSON schema, at any depth."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
    if isinstance(schema, dict | list):
        for part in schema.values() if isinstance(schema, dict) else schema:
            yield from _names_of(part)


def _read_large(body: bytes, names: Collection[str] | None) -> Any:
    """The JSON of a large body, without most members that its model refuses: finding 100,000 errors takes a second."""
    document = parse_json(body)
    return document if names is None else _pruned(document, names, [ERRORS_MAX + 1])


def _pruned(document: Any, names: Collection[str], unknown_left: list[int], depth: int = 0) -> Any:
    """The document with all members that have one of the `names`, and the first `unknown_left` of the others."""
    if depth == _DEPTH_MAX:
        return document
    if isinstance(document, list):
        return [_pruned(item, names, unknown_left, depth + 1) for item in document]
    if not isinstance(document, dict):
        return document
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if name in names:
            kept[name] = _pruned(value, names, unknown_left, depth + 1)
        elif unknown_left[0]:
            unknown_left[0] -= 1
            kept[name] = value
    return kept


def _finished(scope: Scope, response: Response) -> Response:
    """The response with the X-Request-Id of the request, and the headers that the guard adds.

    A SharedFile stays as it is: a shared cache would give these headers to other callers.
    """
    if isinstance(response, SharedFile):
        return response
    response.raw_headers.extend(scope.get("own_headers", ()))
    if known_as := observation_of(scope).request_id:
        response.raw_headers.append((b"x-request-id", known_as))
    return response


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Add the router's routes one by one, so that a path is matched in one pass and a 405 can name all its methods."""
    app.router.routes.extend(router.routes)


def refuse_undeclared(app: FastAPI) -> None:
    """Raise TypeError if a route does not check who may call it, or would not run the application's dependencies."""
    if app.router.dependencies:
        raise TypeError("the application's dependencies would not run: declare them on its routers")
    for route in app.routes:
        if not isinstance(route, StrictRoute):
            path = getattr(route, "path", type(route).__name__)
            raise TypeError(f"{path} is no StrictRoute, so nothing checks who may call it: use add_routes")


def refuse_parameters(request: Request, known: Collection[str]) -> None:
    """Raise Problem `unknown-parameter` if the query string has any parameter that is not `known`."""
    for name, _ in parse_qsl(request.url.query, keep_blank_values=True):
        if name not in known:
            shown = name[:100]
            detail = f"{request.url.path} takes no query parameter {shown!r}."
            raise Problem("unknown-parameter", detail, parameter=shown)
