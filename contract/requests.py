"""Reading requests strictly: JSON without loopholes, bodies with a limit, query strings without strangers, headers."""

import codecs
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator
from decimal import Decimal
from inspect import signature
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contract.caching import SharedFile
from contract.callers import admit, requirement_of
from contract.observation import observation_of
from contract.problems import ERRORS_MAX, Problem

BODY_BYTES_MAX = 1024 * 1024
KEY_LENGTH_MAX = 255
REQUEST_ID_LENGTH_MAX = 200
_DEPTH_MAX = 8  # deeper than any body's model

_ETAGS = re.compile(r'\s*(?:W/)?"[^"]*"\s*(?:,\s*(?:W/)?"[^"]*"\s*)*')
_QUOTED = re.compile(r'(?:W/)?"([^"]*)"')
_VERSION_TAG = re.compile(r"([0-9]{1,18})(?:\.[0-9a-f]{1,32})?")
_WHOLE = re.compile(r"-?[0-9]{1,18}\.0+")
_REQUEST_ID = re.compile(rb"[ -~]{1,%d}" % REQUEST_ID_LENGTH_MAX)


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice[:100]!r} stands twice in one object")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> int | Decimal:
    """A number with a point or an exponent, from its own text: no binary float ever sees money. 5.0 is the integer 5.

    Clients whose language has one type of numbers write integers so.
    """
    return int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else Decimal(text)


_decoder = json.JSONDecoder(
    object_pairs_hook=_object_without_duplicates, parse_float=_number, parse_constant=_refuse_constant
)


def parse_json(body: bytes) -> Any:
    """The JSON document in `body`, with numbers as int or Decimal. A byte order mark before it is skipped.

    Raises Problem `malformed-json` for bad UTF-8, bad syntax, duplicate keys, NaN, and nesting too deep to read.
    """
    try:
        return _decoder.decode(body.removeprefix(codecs.BOM_UTF8).decode())
    except RecursionError:
        raise Problem("malformed-json", "The body is nested too deeply.") from None
    except UnicodeDecodeError as error:
        raise Problem("malformed-json", f"The body is not UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise Problem("malformed-json", f"The body is not JSON at {where}: {error.msg}.") from None
    except (ValueError, ArithmeticError) as error:
        raise Problem("malformed-json", f"The body cannot be read: {error}.") from None


class StrictRequest(Request):
    """A request whose body is capped while it streams in, and whose JSON has no loopholes."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            chunks: list[bytes] = []
            size = 0
            async for chunk in self.stream():
                size += len(chunk)
                if size > BODY_BYTES_MAX:
                    # What is left of it is dropped as it arrives, while the connection's patience lasts: closing now
                    # would reset the connection, and who is still sending would never see this answer.
                    raise Problem("body-too-large", f"The body has more than {BODY_BYTES_MAX} bytes.")
                chunks.append(chunk)
            self._body = b"".join(chunks)
            if self._body:
                self._check_encoding()
                self._check_media_type()
        return self._body

    async def json(self) -> Any:
        document = parse_json(await self.body())
        if document is None:
            error = {"pointer": "", "code": "null", "detail": "must not be null"}
            raise Problem("validation-error", "The body must not be null: leave it out instead.", errors=[error])
        return document

    def _check_encoding(self) -> None:
        for encoding in self.headers.getlist("content-encoding"):
            if encoding.strip().lower() != "identity":
                raise Problem(
                    "unsupported-media-type",
                    f"The Content-Encoding is {encoding[:100]!r}. Send the body without compression.",
                    headers={"Accept-Encoding": "identity"},
                )

    def _check_media_type(self) -> None:
        kind = self.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise Problem("unsupported-media-type", f"The Content-Type is {kind or 'missing'}, not application/json.")


class StrictRoute(APIRoute):
    """A route that reads its request strictly.

    Its `openapi_extra` declares who may call it, as OpenAPI's `security`: see contract/callers.py. The caller is let in
    before anything of the request is read. A route that declares nothing cannot be made.

    A plain endpoint takes its path parameters as text, `request`, and `body` if it has one, and answers a Response. The
    route calls it directly: FastAPI's resolving of dependencies would cost as much as placing an order does. FastAPI
    runs every other endpoint: one with dependencies, its own or those of its router or application, or with other
    parameters. Both kinds read bodies strictly and reject query parameters that `openapi_extra` does not document.
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
        self._takes_request = self.dependant.request_param_name is not None
        model: Any = self.body_field.field_info.annotation if self.body_field else None
        self._body = TypeAdapter(model) if model else None
        self._names = frozenset(_names_of(self._body.json_schema())) if self._body else frozenset()
        if self._is_plain():
            self.app = self._serve
        else:
            # FastAPI closes here what a dependency has opened. Its own stack does so for every request.
            self.app = AsyncExitStackMiddleware(self.app)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, which runs dependencies, on a strict request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            await admit(request.scope, self.required)
            self._check_query(request)
            return _finished(request.scope, await handler(StrictRequest(request.scope, request.receive)))

        return handle

    def _is_plain(self) -> bool:
        needs = self.dependant
        names = {"request", "body", *self.param_convertors}
        texts = all(parameter.field_info.annotation is str for parameter in needs.path_params)
        return texts and not needs.dependencies and signature(self.endpoint).parameters.keys() <= names

    def _check_query(self, request: Request) -> None:
        # A route that takes query parameters checks them itself: it only documents them.
        if request.scope["query_string"] and not self._takes_query:
            refuse_parameters(request)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await admit(scope, self.required)
        request = StrictRequest(scope, receive)
        self._check_query(request)
        arguments: dict[str, Any] = dict(scope["path_params"])
        if self._takes_request:
            arguments["request"] = request
        if self._body is not None:
            arguments["body"] = await self._read_body(request, self._body)
        response = _finished(scope, await self.endpoint(**arguments))
        await response(scope, receive, send)

    async def _read_body(self, request: StrictRequest, model: TypeAdapter[Any]) -> Any:
        """The body as its model. Raises Problem, and RequestValidationError when it breaks the model's rules."""
        document = None
        if await request.body():
            document = await request.json()
        try:
            return model.validate_python(document)
        except ValidationError as error:
            raise RequestValidationError(self._errors(error, model, document)) from None

    def _errors(self, error: ValidationError, model: TypeAdapter[Any], document: Any) -> list[dict[str, Any]]:
        """The errors of a body: all of them, or one more than ERRORS_MAX."""
        if error.error_count() > ERRORS_MAX:
            # Listing 100,000 errors takes half a second. Validate again without most of the unknown members.
            try:
                model.validate_python(_pruned(document, self._names, [ERRORS_MAX + 1]))
            except ValidationError as fewer:
                error = fewer
        found = error.errors(include_url=False, include_context=False, include_input=False)
        return [{**one, "loc": ("body", *one["loc"])} for one in found[: ERRORS_MAX + 1]]


def _names_of(schema: Any) -> Iterator[str]:
    """The names of all members in a JSON schema, at any depth."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
    if isinstance(schema, dict | list):
        for part in schema.values() if isinstance(schema, dict) else schema:
            yield from _names_of(part)


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
    """Add the router's routes to the application, with the application's dependencies if it has any.

    Without dependencies the routes are added one by one, so that a path is matched in one pass and a 405 can name all
    its methods.
    """
    if app.router.dependencies:
        app.include_router(router)
    else:
        app.router.routes.extend(router.routes)


def refuse_undeclared(app: FastAPI) -> None:
    """Raise TypeError if a route of the application does not declare, and so does not check, who may call it."""
    for route in app.routes:
        if not isinstance(route, StrictRoute):
            path = getattr(route, "path", route)
            raise TypeError(f"{path} is no StrictRoute: nothing checks who may call it")


def refuse_parameters(request: Request) -> None:
    """Raise Problem `unknown-parameter` if the query string has any parameter."""
    for name, _ in parse_qsl(request.url.query, keep_blank_values=True):
        raise Problem(
            "unknown-parameter", f"{request.url.path} takes no query parameter {name[:100]!r}.", parameter=name[:100]
        )


def if_match(request: Request) -> int | None:
    """The version that If-Match demands, or None when it demands nothing (absent or `*`).

    The tag is a version, as a write answers, or a version and more behind a point, as a read does: one that the client
    has read is still the same version after a rebuild of the read tables.

    Raises Problem `invalid-header` when it is no list of entity tags, and `version-mismatch` when no tag in it can be
    a version of ours.
    """
    header = _single(request, "If-Match")
    if header is None or header.strip() == "*":
        return None
    if not _ETAGS.fullmatch(header):
        raise Problem("invalid-header", 'If-Match is not a quoted version such as "3".')
    tags = _QUOTED.findall(header)
    versions = [int(match[1]) for match in map(_VERSION_TAG.fullmatch, tags) if match]
    if len(tags) != 1:
        raise Problem("invalid-header", "If-Match takes one version.")
    if not versions:
        raise Problem("version-mismatch", f"If-Match is {header.strip()[:100]}, which is no version of this resource.")
    return versions[0]


def none_match(request: Request, tag: str) -> bool:
    """Whether If-None-Match has the entity tag (or `*`): the answer is 304. Weak comparison, RFC 9110 13.1.2."""
    header = request.headers.get("if-none-match")
    if header is None:
        return False
    return header.strip() == "*" or tag in _QUOTED.findall(header)


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key: 1 to 255 visible characters. Raises Problem `invalid-header`."""
    key = _single(request, "Idempotency-Key")
    if key is None:
        return None
    if not 1 <= len(key) <= KEY_LENGTH_MAX or not key.isascii() or not key.isprintable():
        raise Problem("invalid-header", f"Idempotency-Key must have 1 to {KEY_LENGTH_MAX} printable ASCII characters.")
    return key


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The X-Request-Id that the caller sent; None if there is none, or one that no answer can carry.

    `headers` have their names in lower case. The caller needs the answer more than its id: a bad one is ignored.
    """
    for name, value in headers:
        if name == b"x-request-id":
            return value if _REQUEST_ID.fullmatch(value) else None
    return None


def sync_token(request: Request) -> int | None:
    """The log position that Sync-Token names, or None. Raises Problem `invalid-header`."""
    token = request.headers.get("sync-token")
    if token is None:
        return None
    if not (token.isascii() and token.isdigit() and len(token) < 19):
        raise Problem("invalid-header", "Sync-Token must be one that an earlier answer carried.")
    return int(token)


def _single(request: Request, name: str) -> str | None:
    """A header's one value, or None. Raises Problem `invalid-header` for two of them: which one counts is a guess."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Problem("invalid-header", f"{name} came {len(values)} times.")
    return values[0] if values else None
