"""How the OpenAPI document shows what FastAPI cannot know: problems, and headers that the routes read themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

from contract.callers import PUBLIC, SCHEME, Security
from contract.examples import put_back
from contract.problem_examples import EXAMPLES
from contract.problem_types import PROBLEMS
from contract.problems import MEDIA_TYPE
from contract.resources import BodyError, ProblemLine, ProblemView

_REFERENCE = "#/components/schemas/{model}"

# One type for Sync-Token everywhere: what an answer carries, a generated client can send back.
POSITION = {"type": "integer", "format": "int64", "minimum": 0, "exclusiveMaximum": 10**18}

# Problems that any request can have, and those of any request that needs a caller. Each stands beside the operation's
# own problems of its status.
_OF_ANY_REQUEST = ("malformed-request", "overloaded")
_OF_CALLERS = ("auth-unavailable",)

# Answers that many operations have: by name the status, and the codes of their problems.
_EVERYWHERE = "AnyOtherProblem"
_SHARED: dict[str, tuple[int | str, tuple[str, ...]]] = {
    _EVERYWHERE: (
        "default",
        (
            "method-not-allowed",
            "request-timeout",
            "uri-too-long",
            "unknown-host",
            "headers-too-large",
            "internal-error",
        ),
    ),
    "Unauthenticated": (401, ("unauthenticated", "token-expired")),
    "MissingScope": (403, ("missing-scope", "cross-origin")),
    "RateLimited": (429, ("rate-limited",)),
}

# The headers of problems beside X-Request-Id: by status, and by code.
_HEADERS_BY_STATUS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
_HEADERS_BY_CODE = {
    "already-registered": ("Location",),
    "duplicate-external-id": ("Location",),
    "sku-taken": ("Location",),
    "method-not-allowed": ("Allow",),
    "outcome-unknown": ("Command-Id",),
    "version-mismatch": ("ETag",),
}

_TEXT = {"type": "string"}
_SECONDS = {"type": "integer", "format": "int32", "minimum": 0}
_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Allow": ("the methods that the resource takes", _TEXT),
    "Command-Id": ("the id of the command, as in the metadata of its events", _TEXT),
    "ETag": ("the version of the resource, in quotes", _TEXT),
    "Location": ("the path of the resource", _TEXT),
    "Retry-After": ("seconds to wait before the request is sent again", _SECONDS),
    "WWW-Authenticate": ("`Bearer`: the scheme of keys and tokens", _TEXT),
    "X-Request-Id": ("that of the request, or one that the service made; the log of the service has it too", _TEXT),
}

Documented = dict[int | str, dict[str, Any]]


def problems(*codes: str, security: Security) -> Documented:
    """`responses=` for a route: every problem that it can answer, by status and code.

    `codes` are the codes of PROBLEMS that are the route's own; those of any request, and of any route with this
    `security`, are added. `default` has the problems whose status the others do not have.
    """
    needs_caller = security != PUBLIC and {} not in security
    answered: dict[int, list[str]] = {}
    for code in (*codes, *_OF_ANY_REQUEST, *(_OF_CALLERS if needs_caller else ())):
        answered.setdefault(PROBLEMS[code].status, []).append(code)
    shared = _SHARED if needs_caller else {_EVERYWHERE: _SHARED[_EVERYWHERE]}
    return {
        **{status: _answer(found) for status, found in answered.items()},
        **{status: {"$ref": f"#/components/responses/{name}"} for name, (status, _) in shared.items()},
    }


def _answer(codes: Sequence[str]) -> dict[str, Any]:
    names = {"X-Request-Id"}.union(*(_HEADERS_BY_CODE.get(code, ()) for code in codes))
    names |= {name for code in codes for name in _HEADERS_BY_STATUS.get(PROBLEMS[code].status, ())}
    return {
        "description": "\n".join(f"- `{code}`: {PROBLEMS[code].meaning}" for code in codes),
        "headers": {name: header_reference(name) for name in sorted(names)},
        "content": problem_content(*codes),
    }


def problem_content(*codes: str) -> dict[str, Any]:
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    return {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model=ProblemView.__name__)}, "examples": examples}}


def header_reference(name: str) -> dict[str, Any]:
    """A header of answers, as `complete` describes it in the components."""
    assert name in _HEADERS
    return {"$ref": f"#/components/headers/{name}"}


def complete(document: dict[str, Any], prefix: str) -> None:
    """Add to FastAPI's document what the references point to, and what holds for all operations.

    `prefix` is what a proxy puts in front of the API's paths.
    """
    components = document["components"]
    components["schemas"].update(problem_schemas())
    put_back(components["schemas"])
    described = "An API key (`orders keys create`), or a token of the issuer that the service trusts."
    components["securitySchemes"] = {SCHEME: {"type": "http", "scheme": "bearer", "description": described}}
    components["headers"] = {name: {"description": text, "schema": it} for name, (text, it) in _HEADERS.items()}
    components["examples"] = {
        code: {"summary": PROBLEMS[code].title, "value": problem.document()} for code, problem in EXAMPLES.items()
    }
    components["responses"] = {name: _answer(codes) for name, (_, codes) in _SHARED.items()}
    for operation in (it for path in document["paths"].values() for it in path.values()):
        _refuse_null_body(operation)
        _show_bodies(operation, components["schemas"])
        _complete_parameters(operation)
        for status, answer in operation["responses"].items():
            if reference := answer.get("$ref"):
                operation["responses"][status] = {"$ref": reference}  # FastAPI has added a description
            else:
                answer.setdefault("headers", {})["X-Request-Id"] = header_reference("X-Request-Id")
    # Relative to the document, so that it holds at every address.
    document["servers"] = [{"url": prefix or "/"}]


def problem_schemas() -> dict[str, Any]:
    models = (ProblemView, ProblemLine, BodyError)
    schemas = {model.__name__: model.model_json_schema(ref_template=_REFERENCE) for model in models}
    schemas[ProblemView.__name__].pop("$defs")
    return schemas


def header(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A request header, for `openapi_extra={"parameters": [...]}`."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": dict(schema)}


def _refuse_null_body(operation: dict[str, Any]) -> None:
    """Take `null` out of a request body: an optional body is left out, never null."""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        choices = media["schema"].get("anyOf", ())
        if {"type": "null"} in choices:
            (media["schema"],) = [it for it in choices if it != {"type": "null"}]


def _show_bodies(operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    """Put the first example of each JSON body beside its schema: Postman and others look for it nowhere else."""
    for body in (operation.get("requestBody", {}), *operation["responses"].values()):
        media = body.get("content", {}).get("application/json", {})
        model = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if examples := schemas.get(model, {}).get("examples"):
            media.setdefault("example", examples[0])


def _complete_parameters(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "Idempotency-Key":
            # One of its own for each operation: importers would send one key with all of them.
            parameter["example"] = f"{operation['operationId']}-1"
        elif (parameter["in"], parameter["name"]) == ("path", "id"):
            # The format that ids have in answers, so that generated clients have one type for both. The routes read
            # it as text, so that an id that is not a UUID is answered 404.
            parameter["schema"] = {"type": "string", "format": "uuid"}
