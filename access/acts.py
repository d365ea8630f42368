"""GET /audit: what operators did, newest first, from the log itself."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from contract.callers import scope
from contract.requests import StrictRoute
from contract.resources import ActorView, Int64, Timestamp
from eventlog import pages
from query.database import Reads, Statement
from query.paging import link_to_next
from query.parameters import Id, Number, Parameters
from query.routes import get, json_response
from query.sync import Sync
from query.views import timestamp
from query.waiting import WaitingReads

ACTS_DEFAULT, ACTS_MAX = 100, 1_000

_PAGE = Statement(pages.ACTS_PAGE)
_HEAD = Statement(pages.HEAD)


class ActView(BaseModel):
    id: str
    position: Int64
    at: Timestamp
    actor: ActorView
    act: str
    target: str
    reason: str | None
    request_id: str | None


class ActPage(BaseModel):
    data: list[ActView]
    next: str | None


class ActParameters(Parameters):
    """What /audit takes."""

    cursor: Id | None = Field(None, description="the `next` of the page before")
    limit: Number = Field(ACTS_DEFAULT, ge=1, le=ACTS_MAX, description="the most acts that the page may have")


def shown(row: tuple[Any, ...]) -> dict[str, Any]:
    """An act as callers see it, of a row of ACTS_PAGE."""
    position, stream, at, data, metadata = row
    acted, about = msgspec.json.decode(data), msgspec.json.decode(metadata)
    return {
        "id": stream.removeprefix("operator-"),
        "position": position,
        "at": timestamp(at),
        "actor": about["actor"],
        **acted,
        "request_id": about.get("request_id"),
    }


def router(reads: Reads, waiting: WaitingReads | None = None) -> APIRouter:
    """The routes. `waiting` counts the reads that wait for the log."""
    routes = APIRouter(tags=["operations"], route_class=StrictRoute)

    class Acts(BaseModel):
        position: int
        rows: list[Any]

    async def position() -> int:
        ((head,),) = await reads.rows(_HEAD, {})
        return int(head)

    async def read(before: str | None, limit: int) -> Acts:
        head = await position()
        return Acts(position=head, rows=list(await reads.rows(_PAGE, {"before": before or "~", "limit": limit + 1})))

    sync = Sync(position, waiting)

    @get(
        routes,
        "/audit",
        answers=ActPage,
        security=scope("ops:read"),
        parameters=ActParameters,
        of_tables=False,
    )
    async def list_acts(request: Request) -> Response:
        """What was done to the service itself: keys, replays, retries, skips. Newest first."""
        asked = ActParameters.of(request)
        found = await sync.answer(request, lambda: read(asked.cursor, asked.limit))
        data = [shown(row) for row in found.rows[: asked.limit]]
        following = data[-1]["id"] if len(found.rows) > asked.limit else None
        link = {"Link": link_to_next(request, cursor=following)} if following else {}
        return json_response(msgspec.json.encode({"data": data, "next": following}), found.position, **link)

    return routes
