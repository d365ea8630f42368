"""Answering one resource: 200 or 304 with its ETag, 404, or 410; or as it was, with `?version=` or `?as_of=`.

The log has the answers about the past; this side declares the parameters.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Request, Response
from pydantic import BeforeValidator, Field

from contract.caching import REVALIDATED
from contract.callers import caller_of
from contract.headers import none_match
from contract.names import known_id
from contract.problems import Problem
from query.lookup import Lookup
from query.parameters import Parameters, Time, number_of
from query.parked import PARKED, absent
from query.routes import MEDIA_TYPE
from query.sync import Sync

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


async def answer(request: Request, lookup: Lookup, sync: Sync, id_: str, past: Past | None = None) -> Response:
    """The resource; `past` answers a request with a query string.

    Raises Problem `not-found`, `gone`, `projection-behind`, `unavailable`.
    """
    wanted, viewer = known_id(id_), caller_of(request).viewer
    if past is not None and request.scope["query_string"]:
        return await past(request, f"{lookup.kind}-{wanted}")
    found = await sync.answer(request, lambda: lookup.find(wanted, viewer))
    if found.body is None:
        raise absent(request.scope["path"], found.position, found.parked)
    state = PARKED if found.parked else {}
    headers = {"Sync-Token": str(found.position)} | state
    if found.gone:
        raise Problem("gone", f"{request.scope['path']} was deleted.", headers=headers)
    headers |= {"ETag": f'"{found.tag}"'} | REVALIDATED
    if none_match(request, found.tag):
        return Response(None, 304, headers)
    return Response(found.body, 200, headers, MEDIA_TYPE)
