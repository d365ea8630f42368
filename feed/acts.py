"""GET /audit: what operators did, newest first, from the log itself."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from contract.callers import scope
from contract.examples import KEY_ID, REGISTERED, page_of
from contract.requests import StrictRoute
from contract.resources import ActorView, Int64, Timestamp
from feed.reader import LogReader
from query.database import Reads
from query.parameters import Id, Number, Parameters
from query.routes import get, page_response
from query.sync import Sync
from query.waiting import WaitingReads

ACTS_DEFAULT, ACTS_MAX = 100, 1_000


class ActView(BaseModel):
    id: str
    position: Int64
    at: Timestamp
    actor: ActorView
    act: str
    target: str
    reason: str | None
    request_id: str | None


ActPage = page_of(
    "ActPage",
    ActView,
    {
        "id": "01a203bc-7401-7a4c-8d1e-2f0b5c6d7e8f",
        "position": 1,
        "at": REGISTERED,
        "actor": {"kind": "operator", "id": "root@shop-1"},
        "act": "key.created",
        "target": f"key {KEY_ID}",
        "reason": None,
        "request_id": None,
    },
)


class ActParameters(Parameters):
    cursor: Id | None = Field(None, description="the `next` of the page before")
    limit: Number = Field(ACTS_DEFAULT, ge=1, le=ACTS_MAX, description="the most acts that the page may have")


def router(reads: Reads, waiting: WaitingReads | None = None) -> APIRouter:
    log = LogReader(reads)
    routes = APIRouter(tags=["operations"], route_class=StrictRoute)
    sync = Sync(log.position, waiting)

    @get(routes, "/audit", answers=ActPage, security=scope("ops:read"), parameters=ActParameters, of_tables=False)
    async def list_acts(request: Request) -> Response:
        """Acts of operators on the service itself: keys, replays, retries, skips. Newest first."""
        parameters = ActParameters.of(request)
        acts = await sync.answer(request, lambda: log.acts(parameters.cursor, parameters.limit))
        return page_response(request, acts.data, acts.position, acts.following)

    return routes
