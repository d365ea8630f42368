"""How a GET route is declared: documented in full, HEAD beside it, its answer a Response of ready bytes."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from contract.caching import NO_STORE
from contract.callers import Security
from contract.openapi import POSITION, Documented, header, problems
from query.paging import link_to_next
from query.parameters import CursorParameters, Parameters

MEDIA_TYPE = "application/json"

Given = ParamSpec("Given")
Endpoint = Callable[Given, Awaitable[Response]]

_SYNC_TOKEN = header(
    "Sync-Token",
    "Answer from read tables that have reached this log position.",
    POSITION,
)
_PREFER = header("Prefer", "`wait=<seconds>`: how long to wait for the Sync-Token (2; at most 30).", {"type": "string"})
_IF_NONE_MATCH = header("If-None-Match", "The ETag of an earlier answer: 304 if it still holds.", {"type": "string"})

_SHOWN_SYNC_TOKEN = {"Sync-Token": {"description": "the log position that the answer is as of", "schema": POSITION}}
_SHOWN_STATE = {
    "Projection-State": {
        "description": "`parked`: an event of it could not be projected, and what came since is held back",
        "schema": {"type": "string", "const": "parked"},
    }
}
_SHOWN_ETAG = {
    "ETag": {"description": 'such as `"3.5f2c9a1b77e0aa11"`: the version first', "schema": {"type": "string"}}
}
_SHOWN_CONTENT_LOCATION = {
    "Content-Location": {
        "description": "only with `version` or `as_of`: the path of this version, which never changes",
        "schema": {"type": "string"},
    }
}
_SHOWN_LINK = {"Link": {"description": 'the next page, as rel="next"', "schema": {"type": "string"}}}


def get(
    router: APIRouter,
    path: str,
    *,
    answers: type[BaseModel],
    security: Security,
    errors: Sequence[str] = (),
    parameters: type[Parameters] | None = None,
    synced: bool = True,
    versioned: bool = False,
    of_tables: bool = True,
    paged: bool = True,
    also: Documented | None = None,
) -> Callable[[Endpoint[Given]], Endpoint[Given]]:
    """A decorator that serves `path` with GET and HEAD.

    `security` says who may call it: see contract/callers.py. `answers` is the model of a 200. `errors` are the codes of
    the problems that do not follow from `path` and `parameters`. `synced`: it waits for a Sync-Token. `versioned`: it
    has an ETag. `of_tables`: it reads what may be parked, not the log. `paged`: with parameters it is a list that has a
    next page. `also`: what the route documents in place of the usual parts of its answers.
    """
    headers = [*((_SYNC_TOKEN, _PREFER) if synced else ()), *((_IF_NONE_MATCH,) if versioned else ())]
    shown = _SHOWN_SYNC_TOKEN | (_SHOWN_STATE if of_tables and synced else {})
    shown |= (_SHOWN_ETAG if versioned else {}) | (_SHOWN_LINK if parameters and paged and not versioned else {})
    shown |= _SHOWN_CONTENT_LOCATION if parameters and versioned else {}
    codes = [
        *(("invalid-cursor",) if parameters and issubclass(parameters, CursorParameters) else ()),
        *(("not-found",) if "{" in path else ()),
        *errors,
        *(("unknown-parameter", "invalid-parameter") if parameters else ("unknown-parameter",)),
        *(("invalid-header", "projection-behind", "unavailable") if synced else ()),
    ]
    responses: Documented = {200: {"model": answers, "headers": shown}, **problems(*codes, security=security)}
    for status, answer in (also or {}).items():
        responses[status] = responses.get(status, {}) | answer
    if versioned:
        responses[304] = {"description": "The resource is still what If-None-Match names", "headers": shown}
    extra: dict[str, Any] = {
        "security": security,
        "parameters": [*(parameters.documented() if parameters else ()), *headers],
    }

    def serve(endpoint: Endpoint[Given]) -> Endpoint[Given]:
        router.add_api_route(
            path, endpoint, methods=["GET"], response_model=None, responses=responses, openapi_extra=extra
        )
        # The server leaves the body of a HEAD out, and Content-Length in.
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, openapi_extra=extra)
        return endpoint

    return serve


def page_response(
    request: Request, data: bytes, position: int, following: str | None, parameter: str = "cursor", **headers: str
) -> Response:
    """A page of a list: `data` is its JSON array, `following` the value of `parameter` for the next page, if any."""
    next_page = b"null" if following is None else f'"{following}"'.encode()
    if following is not None:
        headers["Link"] = link_to_next(request, **{parameter: following})
    return json_response(b"".join((b'{"data":', data, b',"next":', next_page, b"}")), position, **headers)


def json_response(body: bytes, position: int, **headers: str) -> Response:
    """200 with a body that is JSON already, as of a log position. No cache keeps it."""
    return Response(body, 200, {"Sync-Token": str(position), **NO_STORE, **headers}, MEDIA_TYPE)
