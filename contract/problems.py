"""Errors as RFC 9457 problem documents: the exception, and the answer that is made of it."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from contract.caching import NO_STORE
from contract.problem_types import PROBLEMS, ProblemType

if TYPE_CHECKING:  # the worker and the command line answer with problems, and need no FastAPI
    from fastapi.exceptions import RequestValidationError

MEDIA_TYPE = "application/problem+json"
ERRORS_MAX = 100  # errors listed in a validation problem: a body can have 100,000


class Problem(HTTPException):
    """An error to answer.

    `errors` is a list of {pointer, code, detail} for errors in the body; `facts` are further members of the document.
    `kind` is the type of a code that has no page of its own.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, object]] = (),
        headers: Mapping[str, str] | None = None,
        kind: ProblemType | None = None,
        **facts: Any,
    ) -> None:
        self.kind = kind or PROBLEMS[code]
        super().__init__(self.kind.status, detail, dict(headers or {}))
        self.code = code
        self.errors = errors
        self.facts = facts

    def document(self, request_id: bytes | None = None, prefix: str = "") -> dict[str, Any]:
        document: dict[str, Any] = {
            "type": f"{prefix}/problems/{self.code}" if self.code in PROBLEMS else "about:blank",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.kind.retryable,
            **self.facts,
        }
        if request_id:
            document["instance"] = f"urn:request:{quote(request_id)}"
        if self.errors or self.code == "validation-error":
            document["errors"] = self.errors
        return document

    def response(self, request_id: bytes | None = None, prefix: str = "") -> Response:
        """The problem document. A 429 and a 503 always have a Retry-After.

        `request_id` is the X-Request-Id, also in `instance`; `prefix` is what a proxy puts in front of the API's paths.
        """
        headers = NO_STORE | dict(self.headers or {})
        if self.status_code in {429, 503}:
            headers.setdefault("Retry-After", "1")
        if self.status_code == 401:
            headers.setdefault("WWW-Authenticate", "Bearer")
        document = msgspec.json.encode(self.document(request_id, prefix))
        response = Response(document, self.status_code, headers, MEDIA_TYPE)
        if request_id:
            response.raw_headers.append((b"x-request-id", request_id))
        return response


def problem_of_status(error: HTTPException) -> Problem:
    """The problem of an exception of FastAPI's, such as a dependency raises: it has a status, and no code of ours."""
    title = HTTPStatus(error.status_code).phrase
    kind = ProblemType(error.status_code, "", "", title)
    return Problem(title.lower().replace(" ", "-"), str(error.detail), headers=error.headers, kind=kind)


def problem_of(invalid: "RequestValidationError") -> Problem:
    """The problem of a request that its declaration refuses: 404 for the path, 400 for the query, 422 for the body."""
    by_place: dict[str, list[dict[str, Any]]] = {}
    for error in invalid.errors():
        by_place.setdefault(str(error["loc"][0]), []).append(error)
    if "path" in by_place:
        return Problem("not-found", "There is no such resource: the path has no valid id.")
    if "query" in by_place:
        error = by_place["query"][0]
        name = _shown(error["loc"][-1])
        if error["type"] == "extra_forbidden":
            return Problem("unknown-parameter", f"There is no query parameter {name!r} here.", parameter=name)
        return Problem("invalid-parameter", f"{name}: {in_words(error)}.", parameter=name)
    if "header" in by_place:
        error = by_place["header"][0]
        return Problem("invalid-header", f"{_shown(error['loc'][-1])}: {in_words(error)}.")
    found = by_place.get("body", ())
    errors = [
        {"pointer": pointer(error["loc"][1:]), "code": _body_code(error["type"]), "detail": in_words(error)}
        for error in found[:ERRORS_MAX]
    ]
    detail = "The body breaks rules: see errors."
    if len(found) > ERRORS_MAX:
        detail = f"The body breaks more than {ERRORS_MAX} rules: errors lists the first {ERRORS_MAX}."
    return Problem("validation-error", detail, errors=errors)


def pointer(location: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901); the whole body is the empty one."""
    return "".join("/" + _shown(part).replace("~", "~0").replace("/", "~1") for part in location)


def _body_code(kind: str) -> str:
    return "unknown-field" if kind == "extra_forbidden" else kind.replace("_", "-")


def in_words(error: Mapping[str, Any]) -> str:
    """What an error of pydantic's says. Where pydantic would name a class of ours, these are our words."""
    if error["type"] == "model_type":
        return "must be an object"
    if error["type"] == "missing" and error["loc"] == ("body",):
        return "the body is missing: it must be an object"
    return str(error["msg"]).removeprefix("Value error, ")


def _shown(name: str | int) -> str:
    # A name of the caller's own may be long, and may have surrogates, which no answer in UTF-8 can carry.
    return str(name)[:100].encode(errors="replace").decode()
