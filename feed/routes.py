"""GET /events, and the events of one order, user or product."""

from collections.abc import Awaitable, Callable

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
        if events.data is None:
            raise absent(request.scope["path"].removesuffix("/events"), events.position, parked=False)
        following = str(events.last) if events.more else None
        return page_response(request, events.data, events.position, following, "after")

    @get(
        routes,
        "/events",
        answers=EventPage,
        security=scope("events:read"),
        parameters=EventsParameters,
        of_tables=False,
    )
    async def list_events(request: Request) -> Response:
        """The whole log in order, without holes; `next` is the `after` of the next page."""
        return await answer(request)

    for kind in SCOPES:
        _add_route_of(routes, kind, answer)
    return routes


def _add_route_of(routes: APIRouter, kind: str, answer: Callable[[Request, str], Awaitable[Response]]) -> None:

    async def list_events_of(request: Request, id: str) -> Response:
        return await answer(request, f"{kind}-{known_id(id)}")

    # The name and the text of the operation in the OpenAPI document.
    list_events_of.__name__ = f"list_events_of_{kind}"
    list_events_of.__doc__ = f"{'An' if kind == 'order' else 'A'} {kind}'s events, oldest first."
    get(
        routes,
        f"/{kind}s/{{id}}/events",
        answers=EventPage,
        security=scope(SCOPES[kind]),
        parameters=EventsParameters,
        of_tables=False,
    )(list_events_of)
