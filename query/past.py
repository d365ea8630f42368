"""`?version=` and `?as_of=` on one resource. The log has the answers; this side declares the parameters."""

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from pydantic import Field

from query.parameters import Number, Parameters, Time

VERSION_MAX = 2**31 - 1

# Answers a request for a resource as it was: the request, and the id in its path.
Past = Callable[[Request, str], Awaitable[Response]]


class PastParameters(Parameters):
    """Which moment of a resource is wanted: one of the two, or none for now."""

    version: Number | None = Field(
        None, ge=1, le=VERSION_MAX, description="the resource as it was after so many of its events"
    )
    as_of: Time | None = Field(
        None, description="the resource as it was at this time, by when its events were recorded; not in the future"
    )
