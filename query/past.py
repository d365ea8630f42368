"""`?version=` and `?as_of=` on one resource. The log has the answers; this side declares the parameters."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Request, Response
from pydantic import BeforeValidator, Field

from query.parameters import Parameters, Time, number_of

VERSION_MAX = 2**31 - 1

# Not a Number with limits: behind `| None`, pydantic documents those with words that JSON Schema does not have.
_Version = Annotated[
    int, Field(ge=1, le=VERSION_MAX, json_schema_extra={"format": "int32"}), BeforeValidator(number_of)
]

# Answers a request for a resource as it was: the request, and the resource's stream.
Past = Callable[[Request, str], Awaitable[Response]]


class PastParameters(Parameters):
    """Which moment of a resource is wanted: one of the two, or none for now."""

    version: _Version | None = Field(None, description="the resource as it was after so many of its events")
    as_of: Time | None = Field(
        None, description="the resource as it was at this time, by when its events were recorded; not in the future"
    )
