"""Answering one resource: 200 or 304 with its ETag, 404, or 410."""

from fastapi import Request, Response

from contract.caching import REVALIDATED
from contract.callers import caller_of
from contract.headers import none_match
from contract.problems import Problem
from query.lookup import Lookup
from query.parked import PARKED, absent
from query.past import Past
from query.routes import MEDIA_TYPE, known_id
from query.sync import Sync


async def answer(request: Request, lookup: Lookup, sync: Sync, id_: str, past: Past | None = None) -> Response:
    """The resource; `past` answers a request with a query string.

    Raises Problem `not-found`, `gone`, `projection-behind`, `unavailable`.
    """
    wanted, viewer = known_id(id_), caller_of(request).viewer
    if past is not None and request.scope["query_string"]:
        return await past(request, f"{lookup.kind}-{wanted}")
    found = await sync.answer(request, lambda: lookup.find(wanted, viewer))
    if found.body is None:
        raise absent(request.url.path, found.position, found.parked)
    state = PARKED if found.parked else {}
    headers = {"Sync-Token": str(found.position)} | state
    if found.gone:
        raise Problem("gone", f"{request.url.path} was deleted.", headers=headers)
    headers |= {"ETag": f'"{found.tag}"'} | REVALIDATED
    if none_match(request, found.tag):
        return Response(None, 304, headers)
    return Response(found.body, 200, headers, MEDIA_TYPE)
