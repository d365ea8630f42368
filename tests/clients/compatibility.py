"""What callers rely on in the OpenAPI document, as plain lines, and the changes between two documents that break them.

A promise is something callers use: an operation, a parameter, a member that an answer always has. Taking one away
breaks them. A demand is something they must cope with: a required member, a value that an answer may have, a limit.
Adding one breaks them, unless what it belongs to is new. A comparison that cannot tell reports a break.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

METHODS = ("get", "put", "post", "delete", "patch")
# A smaller number breaks callers / a greater number does.
UPPER_LIMITS = {"maxLength", "maximum", "exclusiveMaximum", "maxItems"}
LOWER_LIMITS = {"minLength", "minimum", "exclusiveMinimum", "minItems"}

Schema = Mapping[str, Any]


@dataclass
class Surface:
    """Promises; demands as (subject, demand); limits on requests as {(subject, limit): number}."""

    promises: set[str] = field(default_factory=set)
    demands: set[tuple[str, str]] = field(default_factory=set)
    limits: dict[tuple[str, str], float] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The surface as text; `Surface.read` reads it."""
        demands = [f"demand\t{subject}\t{demand}" for subject, demand in self.demands]
        limits = [f"limit\t{subject}\t{name}\t{number:.17g}" for (subject, name), number in self.limits.items()]
        return sorted([f"promise\t{it}" for it in self.promises] + demands + limits)

    @classmethod
    def read(cls, lines: list[str]) -> "Surface":
        surface = cls()
        for line in lines:
            match line.split("\t"):
                case "promise", promise:
                    surface.promises.add(promise)
                case "demand", subject, demand:
                    surface.demands.add((subject, demand))
                case "limit", subject, name, number:
                    surface.limits[subject, name] = float(number)
        return surface


def surface_of(document: Schema) -> Surface:
    """The surface of an OpenAPI 3.1 document."""
    return _Reading(document).surface


def breaking(old: Surface, new: Surface) -> list[str]:
    """The differences that break a caller of `old`, as sentences."""
    found = [f"removed: {it}" for it in old.promises - new.promises]
    found += [f"added: {subject}: {demand}" for subject, demand in new.demands - old.demands if subject in old.promises]
    for (subject, name), number in new.limits.items():
        before = old.limits.get((subject, name))
        if before is None:
            tighter = subject in old.promises
        else:
            tighter = number < before if name in UPPER_LIMITS else number > before
        if tighter:
            found.append(f"tighter: {subject}: {name} {number:.17g}")
    return sorted(found)


class _Reading:
    """Collects the surface of one document. A component counts for requests, for answers, or for both."""

    def __init__(self, document: Schema) -> None:
        self.surface = Surface()
        self._schemas = document["components"]["schemas"]
        self._responses = document["components"].get("responses", {})
        self._seen: set[tuple[str, bool]] = set()
        for path, operations in document["paths"].items():
            for method in METHODS:
                if method in operations:
                    self._operation(f"{method.upper()} {path}", operations[method])

    def _operation(self, name: str, operation: Schema) -> None:
        self.surface.promises |= {name, f"{name} operationId {operation['operationId']}"}
        for parameter in operation.get("parameters", ()):
            subject = f"{name} {parameter['in']} {parameter['name']}"
            self._taken(name, subject, required=parameter.get("required", False))
            self._schema(subject, parameter["schema"], answers=False)
        if body := operation.get("requestBody"):
            self._taken(name, f"{name} body", required=body.get("required", False))
            for media, content in body["content"].items():
                self.surface.promises.add(f"{name} body {media}")
                self._schema(f"{name} body", content["schema"], answers=False)
        for status, answer in operation["responses"].items():
            self._answer(name, status, self._responses.get(answer.get("$ref", "").rpartition("/")[2], answer))

    def _answer(self, name: str, status: str, answer: Schema) -> None:
        subject = f"{name} {status}"
        if status[0] in "23":
            self.surface.promises.add(subject)
            self.surface.promises |= {f"{subject} header {header}" for header in answer.get("headers", ())}
            self.surface.demands.add((name, f"may answer {status}"))
        for media, content in answer.get("content", {}).items():
            # Every problem has the same shape, and a caller copes with any status: `default` stands for them all.
            if status[0] in "23" or status == "default":
                self.surface.promises.add(f"{subject} {media}")
                self._schema(subject, content.get("schema", {}), answers=True)

    def _taken(self, parent: str, subject: str, *, required: bool) -> None:
        """A parameter, a body or a member that requests may have."""
        self.surface.promises.add(subject)
        if required:
            self.surface.demands.add((parent, f"requires {subject}"))

    def _schema(self, subject: str, schema: Schema, *, answers: bool) -> None:
        """What a value may be. Requests rely on each alternative; of answers each is one more to cope with."""
        assert "allOf" not in schema, f"{subject}: this comparison does not know allOf"
        if "default" in schema and not answers:
            self.surface.promises.add(f"{subject} is {schema['default']!r} when absent")
        for choice in schema.get("anyOf") or schema.get("oneOf") or [schema]:
            for alternative in _alternatives(choice):
                if answers:
                    self.surface.demands.add((subject, f"may be {alternative}"))
                else:
                    self.surface.promises.add(f"{subject} takes {alternative}")
            if not answers:
                limits = (UPPER_LIMITS | LOWER_LIMITS) & choice.keys()
                self.surface.limits |= {(subject, limit): float(choice[limit]) for limit in limits}
            self._parts(subject, choice, answers=answers)

    def _parts(self, subject: str, schema: Schema, *, answers: bool) -> None:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if (name, answers) not in self._seen:
                self._seen.add((name, answers))
                self.surface.promises.add(name)
                self._schema(name, self._schemas[name], answers=answers)
        for member, within in schema.get("properties", {}).items():
            whole = f"{subject}.{member}"
            required = member in schema.get("required", ())
            if not answers:
                self._taken(subject, whole, required=required)
            elif required:
                self.surface.promises |= {whole, f"{whole} is always there"}
            else:
                self.surface.promises.add(whole)
            self._schema(whole, within, answers=answers)
        for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
            if isinstance(within := schema.get(key), Mapping):
                self.surface.promises.add(subject + mark)
                self._schema(subject + mark, within, answers=answers)


def _alternatives(schema: Schema) -> Iterator[str]:
    if "$ref" in schema:
        yield schema["$ref"].rpartition("/")[2]
    elif "enum" in schema or "const" in schema:
        yield from (repr(value) for value in schema.get("enum") or [schema["const"]])
    else:
        yield f"{schema.get('type', 'anything')} {schema.get('format', '')}".strip()
