"""Answering one resource: 200 or 304 with its ETag, 404, or 410."""

from fastapi import Request, Response

from contract.caching import REVALIDATED
from contract.problems import Problem
from contract.requests import none_match
from query.lookup import Lookup
from query.parked import PARKED, absent
from query.past import Past
from query.routes import MEDIA_TYPE, known_id
from query.sync import Sync


async def answer(request: Request, lookup: Lookup, sync: Sync, id_: str, past: Past | None = None) -> Response:
    """The resource; `past` answers a request with a query string.

    Raises Problem `not-found`, `gone`, `projection-behind`, `unavailable`.
    """
    wanted = known_id(id_)
    if past is not None and request.scope["query_string"]:
        return await past(request, wanted)
    found = await sync.answer(request, lambda: lookup.find(wanted))
    if found.body is None:
        raise absent(request.url.path, found.position, found.parked)
    state = PARKED if found.parked else {}
    headers = {"Sync-Token": str(found.position)} | state
    if found.gone:
        raise Problem("gone", f"{request.url.path} was deleted.", headers=headers)
    headers |= {"ETag": f'"{found.version}"'} | REVALIDATED
    if none_match(request, found.version):
        return Response(None, 304, headers)
    return Response(found.body, 200, headers, MEDIA_TYPE)
