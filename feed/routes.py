"""GET /events, and the events of one order, user or product."""

from fastapi import APIRouter, Request, Response
from pydantic import Field

from contract.callers import caller_of, scope
from contract.requests import StrictRoute
from feed.event_views import EventPage
from feed.reader import LogReader
from query.database import Reads
from query.paging import link_to_next
from query.parameters import Number, Parameters, Position
from query.parked import absent
from query.routes import get, json_response, known_id
from query.sync import Sync
from query.waiting import WaitingReads

EVENTS_DEFAULT = 100
EVENTS_MAX = 1000


class EventsParameters(Parameters):
    """What the lists of events take."""

    after: Position = Field(
        0, ge=0, lt=10**18, description="only events behind this one: a version in a stream, a position in the log"
    )
    limit: Number = Field(EVENTS_DEFAULT, ge=1, le=EVENTS_MAX, description="the most events that the page may have")


def router(reads: Reads, waiting: WaitingReads | None = None) -> APIRouter:
    """The routes. `waiting` counts the reads that wait for the log."""
    log = LogReader(reads)
    routes = APIRouter(tags=["events"], route_class=StrictRoute)
    sync = Sync(log.position, waiting)

    async def answer(request: Request, stream: str | None = None) -> Response:
        parameters = EventsParameters.of(request)
        viewer = caller_of(request).viewer
        events = await sync.answer(request, lambda: log.page(stream, parameters.after, parameters.limit, viewer))
        if events.data is None:
            raise absent(request.url.path.removesuffix("/events"), events.position, parked=False)
        if not events.more:
            return json_response(b'{"data":' + events.data + b',"next":null}', events.position)
        following = str(events.last)
        body = b'{"data":' + events.data + b',"next":"' + following.encode() + b'"}'
        return json_response(body, events.position, Link=link_to_next(request, after=following))

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

    @get(
        routes,
        "/orders/{id}/events",
        answers=EventPage,
        security=scope("orders:read"),
        errors=["not-found"],
        parameters=EventsParameters,
        of_tables=False,
    )
    async def list_events_of_order(request: Request, id: str) -> Response:
        """An order's events, oldest first."""
        return await answer(request, f"order-{known_id(id)}")

    @get(
        routes,
        "/users/{id}/events",
        answers=EventPage,
        security=scope("users:read"),
        errors=["not-found"],
        parameters=EventsParameters,
        of_tables=False,
    )
    async def list_events_of_user(request: Request, id: str) -> Response:
        """A user's events, oldest first."""
        return await answer(request, f"user-{known_id(id)}")

    @get(
        routes,
        "/products/{id}/events",
        answers=EventPage,
        security=scope("events:read"),
        errors=["not-found"],
        parameters=EventsParameters,
        of_tables=False,
    )
    async def list_events_of_product(request: Request, id: str) -> Response:
        """A product's events, oldest first."""
        return await answer(request, f"product-{known_id(id)}")

    return routes
