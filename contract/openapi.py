"""How the OpenAPI document shows what FastAPI cannot know: problems, and headers that the routes read themselves."""

from collections.abc import Mapping
from typing import Any

from contract.callers import SCHEME
from contract.problem_types import PROBLEMS
from contract.problems import MEDIA_TYPE
from contract.resources import BodyError, ProblemLine, ProblemView

_REFERENCE = "#/components/schemas/{model}"

# One type for Sync-Token everywhere: what an answer carries, a generated client can send back.
POSITION = {"type": "integer", "format": "int64", "minimum": 0, "exclusiveMaximum": 10**18}

Documented = dict[int | str, dict[str, Any]]


def problems(*codes: str) -> Documented:
    """`responses=` for a route that can answer these problems (codes of PROBLEMS). `default` covers every other."""
    documented: Documented = {"default": {"description": "Any other problem", "content": problem_content()}}
    for code in codes:
        kind = PROBLEMS[code]
        answer = documented.setdefault(kind.status, {"description": "", "content": problem_content()})
        answer["description"] = f"{answer['description']}\n- `{code}`: {kind.meaning}".lstrip()
    return documented


def problem_content() -> dict[str, Any]:
    """The content of an answer that is a problem document."""
    return {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model=ProblemView.__name__)}}}


def problem_schemas() -> dict[str, Any]:
    """What the references of `problems` point to, for the document's components."""
    models = (ProblemView, ProblemLine, BodyError)
    schemas = {model.__name__: model.model_json_schema(ref_template=_REFERENCE) for model in models}
    schemas[ProblemView.__name__].pop("$defs")
    return schemas


def security_schemes() -> dict[str, Any]:
    """What the routes' security requirements refer to, for the document's components."""
    described = "An API key (`orders keys create`), or a token of the issuer that the service trusts."
    return {SCHEME: {"type": "http", "scheme": "bearer", "description": described}}


def refuse_null_bodies(document: dict[str, Any]) -> None:
    """Take `null` out of the request bodies of an OpenAPI document: an optional body is left out, never null."""
    for path in document["paths"].values():
        for operation in path.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                choices = media["schema"].get("anyOf", ())
                if {"type": "null"} in choices:
                    (media["schema"],) = [it for it in choices if it != {"type": "null"}]


def type_ids_in_paths(document: dict[str, Any]) -> None:
    """Give `{id}` in paths the format that ids have in answers, so that generated clients have one type for both.

    The routes read it as text, so that an id that is not a UUID is answered 404.
    """
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if (parameter["in"], parameter["name"]) == ("path", "id"):
                    parameter["schema"] = {"type": "string", "format": "uuid"}


def header(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A request header, for `openapi_extra={"parameters": [...]}`."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": dict(schema)}
