"""GET /events and the events of one order, user or product: served by a reader of the log that is handed in."""

from typing import NamedTuple, Protocol

from fastapi import APIRouter, Request, Response
from pydantic import Field

from contract.requests import StrictRoute
from contract.resources import EventPage
from query.paging import link_to_next
from query.parameters import Number, Parameters, Position
from query.parked import absent
from query.routes import get, json_response, known_id
from query.sync import Sync
from query.waiting import WaitingReads

EVENTS_DEFAULT = 100
EVENTS_MAX = 1000


class Events(NamedTuple):
    """A page of events. `data` is a JSON array of EventViews, ready to be sent; None when there is no such stream.

    `position` is the head of the log when it was read, `last` the position (in a stream: the version) of the last event
    of the page, and `more` whether there are events behind it.
    """

    position: int
    data: bytes | None
    last: int
    more: bool


class EventReader(Protocol):
    """Reads the log. service/log_reader.py implements it, because query/ does not import eventlog/."""

    async def page(self, stream: str | None, after: int, limit: int) -> Events:
        """At most `limit` events in order: of one stream behind a version, or of the whole log behind a position."""

    async def position(self) -> int:
        """The head of the log that is read; a replica may be behind."""


class EventsParameters(Parameters):
    """What the lists of events take."""

    after: Position = Field(
        0, ge=0, lt=10**18, description="only events behind this one: a version in a stream, a position in the log"
    )
    limit: Number = Field(EVENTS_DEFAULT, ge=1, le=EVENTS_MAX, description="the most events that the page may have")


def router(log: EventReader, waiting: WaitingReads | None = None) -> APIRouter:
    """The routes. `waiting` counts the reads that wait for the log."""
    routes = APIRouter(tags=["events"], route_class=StrictRoute)
    sync = Sync(log.position, waiting)

    async def answer(request: Request, stream: str | None = None) -> Response:
        parameters = EventsParameters.of(request)
        events = await sync.answer(request, lambda: log.page(stream, parameters.after, parameters.limit))
        if events.data is None:
            raise absent(request.url.path.removesuffix("/events"), events.position, parked=False)
        if not events.more:
            return json_response(b'{"data":' + events.data + b',"next":null}', events.position)
        following = str(events.last)
        body = b'{"data":' + events.data + b',"next":"' + following.encode() + b'"}'
        return json_response(body, events.position, Link=link_to_next(request, after=following))

    @get(routes, "/events", answers=EventPage, parameters=EventsParameters, of_tables=False)
    async def list_events(request: Request) -> Response:
        """The whole log in order, without holes; `next` is the `after` of the next page."""
        return await answer(request)

    @get(
        routes,
        "/orders/{id}/events",
        answers=EventPage,
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
        errors=["not-found"],
        parameters=EventsParameters,
        of_tables=False,
    )
    async def list_events_of_product(request: Request, id: str) -> Response:
        """A product's events, oldest first."""
        return await answer(request, f"product-{known_id(id)}")

    return routes
