"""Query strings, read strictly: no strangers, nothing twice, nothing empty, no value that cannot be meant."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from contract.lost_values import is_lost
from contract.names import id_of
from contract.problems import Problem, in_words

PAGE_LENGTH_MAX = 100
PAGE_LENGTH_DEFAULT = 25

# Python's strftime writes a zone as +0000, and so does the client that openapi-generator makes.
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?)(\d{0,3})(Z|[+-]\d\d:?\d\d)", re.ASCII | re.IGNORECASE
)
_MONEY = re.compile(r"[0-9]{1,24}(\.[0-9]{1,4}0{0,14})?")
_WHOLE_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


def time_of(text: str, *, round_up: bool = False) -> datetime:
    """An RFC 3339 time, in UTC, from up to nine decimals. Raises ValueError.

    Times are stored with six decimals. The others are cut off, or rounded up.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("must be an RFC 3339 time with a zone, such as 2026-11-22T13:51:00Z")
    try:
        micros, nanos, zone = match.groups()
        time = datetime.fromisoformat((micros + zone).upper()).astimezone(UTC)
        return time + timedelta(microseconds=1) if round_up and nanos.strip("0") else time
    except (ValueError, OverflowError):
        raise ValueError("is no time that the calendar has") from None


def _time_in_url(text: str, *, round_up: bool = False) -> datetime:
    """As `time_of`; in a query string, a + that was not escaped is a space."""
    try:
        return time_of(text, round_up=round_up)
    except ValueError as error:
        raise ValueError(f"{error} (a + is sent as %2B)" if " " in text else str(error)) from None


def money_of(text: str) -> Decimal:
    """An amount. Raises ValueError."""
    if not _MONEY.fullmatch(text):
        raise ValueError("must be a decimal such as 49.99: 0 or more, with at most 4 decimals and zeros after them")
    return Decimal(text)


def text_of(text: str) -> str:
    """Any text that PostgreSQL can hold. Raises ValueError."""
    if "\0" in text:
        raise ValueError("must not contain the NUL character")
    return text


def _key_of(text: str) -> str:
    if is_lost(text):
        raise ValueError("is what programs write for a missing value")
    return text_of(text)


def _flag_of(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text == "true"


def number_of(text: str) -> int:
    """A whole number, 0 or more. Raises ValueError."""
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ValueError("must be a whole number, 0 or more")
    return int(text)


Id = Annotated[str, BeforeValidator(id_of), WithJsonSchema({"type": "string", "format": "uuid"})]
_TIME_SCHEMA = WithJsonSchema({"type": "string", "format": "date-time"})
Time = Annotated[datetime, BeforeValidator(_time_in_url), _TIME_SCHEMA]
# For `>=` and `<`: no stored time lies between it and the time that was sent.
TimeRoundedUp = Annotated[datetime, BeforeValidator(partial(_time_in_url, round_up=True)), _TIME_SCHEMA]
Money = Annotated[
    Decimal, BeforeValidator(money_of), WithJsonSchema({"type": "string", "pattern": f"^{_MONEY.pattern}$"})
]
Flag = Annotated[bool, BeforeValidator(_flag_of), WithJsonSchema({"type": "boolean"})]
Number = Annotated[int, BeforeValidator(number_of), Field(json_schema_extra={"format": "int32"})]
Position = Annotated[int, BeforeValidator(number_of), Field(json_schema_extra={"format": "int64"})]
Name = Annotated[
    str,
    BeforeValidator(_key_of),
    Field(min_length=1, max_length=254, json_schema_extra={"pattern": r"^[^\x00]*[^\x00\s'\x22][^\x00]*$"}),
]


class Parameters(BaseModel):
    """The query parameters that a route takes. Ranges are written like `total[gte]`, which is the field's alias.

    FastAPI could read such a model too, at 85 us a request more; and it would take the last of two values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Parameters with several values: `status=placed,cancelled`, or `status=placed&status=cancelled`.
    lists: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def of(cls, request: Request) -> Self:
        """The request's parameters. Raises Problem `unknown-parameter` or `invalid-parameter`."""
        try:
            return cls.model_validate(_pairs(request.scope["query_string"], cls.lists))
        except ValidationError as errors:
            raise problem_with(errors, request.url.path) from None

    @classmethod
    def documented(cls) -> list[dict[str, Any]]:
        schema = cls.model_json_schema()
        documents = []
        for name, details in schema["properties"].items():
            plain = {key: value for key, value in details.items() if key not in {"title", "description", "default"}}
            choices = [choice for choice in plain.pop("anyOf", []) if choice != {"type": "null"}]
            kind = {**plain, **(choices[0] if choices else {})}
            if details.get("default") is not None:
                kind["default"] = details["default"]
            documents.append(
                {"name": name, "in": "query", "required": False, "description": details["description"], "schema": kind}
            )
        return documents


class CursorParameters(Parameters):
    """The query parameters of every list with a cursor. Subclasses add the filters."""

    limit: Number = Field(
        PAGE_LENGTH_DEFAULT, ge=1, le=PAGE_LENGTH_MAX, description="the most resources that the page may have"
    )
    cursor: str | None = Field(
        None, min_length=1, description="`next` of the page before, with the same sort and filters"
    )

    paging: ClassVar[frozenset[str]] = frozenset({"sort", "limit", "cursor"})

    @property
    def filters(self) -> Mapping[str, Any]:
        """The filters that the request sent, by field name."""
        return {name: getattr(self, name) for name in sorted(self.model_fields_set - self.paging)}


class PageParameters(CursorParameters):
    """The query parameters of a list of resources. Subclasses add the sorts and the filters."""

    sort: str


def problem_with(errors: ValidationError, path: str) -> Problem:
    """The first error of a query string as a Problem."""
    error = errors.errors(include_url=False)[0]
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return Problem("unknown-parameter", f"{path} takes no query parameter {name[:100]!r}.", parameter=name[:100])
    return Problem("invalid-parameter", f"{name}: {in_words(error)}.", parameter=name)


def one_or_more(text: str) -> str:
    """Values with commas between them, each once and in one order, so that equal filters are equal texts."""
    return ",".join(sorted(set(text.split(","))))


def _pairs(query: bytes, lists: frozenset[str]) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise Problem("invalid-parameter", "The query string is not percent-encoded UTF-8.") from None
    parameters: dict[str, str] = {}
    for name, value in pairs:
        shown = name[:100]
        if name in parameters and name not in lists:
            raise Problem("invalid-parameter", f"{shown!r} stands twice in the query string.", parameter=shown)
        if not value:
            # `?status=` is more often a variable that was not set than a wish for everything.
            raise Problem("invalid-parameter", f"{shown!r} has no value.", parameter=shown)
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters
