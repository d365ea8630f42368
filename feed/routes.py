"""GET /events, and the events of one order, user or product."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from contract.callers import caller_of, scope
from contract.names import known_id
from contract.requests import StrictRoute
from feed.event_views import EventPage
from feed.reader import LogReader
from query.database import Reads
from query.parameters import Number, Parameters, Position
from query.parked import absent
from query.routes import get, page_response
from query.sync import Sync
from query.waiting import WaitingReads

EVENTS_DEFAULT = 100
EVENTS_MAX = 1000
# The scope that a caller needs for the events of each kind. A product's events name other people's orders.
SCOPES = {"order": "orders:read", "product": "events:read", "user": "users:read"}
NAMED = {"order": "An order", "product": "A product", "user": "A user"}


class EventsParameters(Parameters):
    after: Position = Field(
        0, ge=0, lt=10**18, description="only events behind this one: a version in a stream, a position in the log"
    )
    limit: Number = Field(EVENTS_DEFAULT, ge=1, le=EVENTS_MAX, description="the most events that the page may have")


def router(reads: Reads, waiting: WaitingReads | None = None) -> APIRouter:
    log = LogReader(reads)
    routes = APIRouter(tags=["events"], route_class=StrictRoute)
    sync = Sync(log.position, waiting)

    async def answer(request: Request, stream: str | None = None) -> Response:
        parameters = EventsParameters.of(request)
        viewer = caller_of(request).viewer
        events = await sync.answer(request, lambda: log.page(stream, parameters.after, parameters.limit, viewer))
        if not events.data:
            raise absent(request.scope["path"].removesuffix("/events"), events.position, parked=False)
        return page_response(request, events.data, events.position, events.following, "after")

    declared: dict[str, Any] = {"answers": EventPage, "parameters": EventsParameters}

    @get(routes, "/events", security=scope("events:read"), of_tables=False, **declared)
    async def list_events(request: Request) -> Response:
        """The whole log in order, without holes; `next` is the `after` of the next page."""
        return await answer(request)

    for kind, one in NAMED.items():
        get_of(routes, kind, "events", answer, f"list_events_of_{kind}", f"{one}'s events, oldest first.", **declared)
    return routes


def get_of(
    routes: APIRouter,
    kind: str,
    what: str,
    answer: Callable[[Request, str], Awaitable[Response]],
    name: str,
    text: str,
    **declared: Any,
) -> None:
    """Serve `what` the log tells of one order, product or user. `declared` is what `query.routes.get` takes too.

    `name` and `text` are those of the operation in the OpenAPI document.
    """

    async def of_one(request: Request, id: str) -> Response:
        return await answer(request, f"{kind}-{known_id(id)}")

    of_one.__name__, of_one.__doc__ = name, text
    get(routes, f"/{kind}s/{{id}}/{what}", security=scope(SCOPES[kind]), of_tables=False, **declared)(of_one)
