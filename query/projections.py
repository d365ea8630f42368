"""GET /projections: how far the read tables are behind the log, and whether anybody is working on it."""

from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

import msgspec
from fastapi import APIRouter, Response
from sqlalchemy import func, select

from contract.requests import StrictRoute
from contract.resources import ProjectionList
from query.database import Reads
from query.routes import get, json_response
from query.statements import compiled
from query.views import timestamp
from readmodel.tables import checkpoint, parked

# A worker looks at the log about every second, whether or not it is told to.
STOPPED_AFTER = timedelta(seconds=10)
LIVE_LAG_MS_MAX = 1000

State = Literal["live", "catching_up", "replaying", "stopped"]


class Head(NamedTuple):
    """The head of the log, and since when its first event behind a given position has been there (None: no such)."""

    position: int
    waiting_since: datetime | None


class HeadReader(Protocol):
    """Knows the log, which this side does not."""

    async def head(self, projected: int) -> Head:
        """The head, and the recorded_at of the event at `projected` + 1."""

    async def replaying(self) -> bool:
        """Whether a replay is building new read tables now."""


class Projection(NamedTuple):
    """A row of the checkpoint, and the database's clock."""

    name: str
    position: int
    updated_at: datetime
    seen_at: datetime
    worker: str | None
    error: str | None
    parked: int
    now: datetime


_row = checkpoint.c
_CHECKPOINTS = compiled(
    select(
        _row.name,
        _row.position,
        _row.updated_at,
        _row.seen_at,
        _row.worker,
        _row.error,
        # Not those that an operator has given up: nothing is to come of them.
        select(func.count()).select_from(parked).where(~parked.c.skipped).scalar_subquery(),
        func.clock_timestamp(),
    ).order_by(_row.name)
)


async def projections_of(reads: Reads) -> list[Projection]:
    """All projections, as their checkpoints tell. Raises Problem `unavailable`, and psycopg.Error without tables."""
    return [Projection(*found) for found in await reads.rows(_CHECKPOINTS, {})]


def router(reads: Reads, log: HeadReader) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["operations"], route_class=StrictRoute)

    @get(routes, "/projections", answers=ProjectionList, synced=False)
    async def list_projections() -> Response:
        """Each projection's position, and how far it is behind the head of the log, in events and in time."""
        projections = await projections_of(reads)
        replaying = await log.replaying()
        data = [view(projection, await log.head(projection.position), replaying) for projection in projections]
        position = min(projection.position for projection in projections)
        return json_response(msgspec.json.encode({"data": data}), position)

    return routes


def view(projection: Projection, head: Head, replaying: bool) -> dict[str, object]:
    """A ProjectionView."""
    lag_ms = round(lag(projection, head) / timedelta(milliseconds=1))
    return {
        "name": projection.name,
        "position": projection.position,
        "head": head.position,
        "lag_events": max(0, head.position - projection.position),
        "lag_ms": lag_ms,
        "state": state(projection, lag_ms, replaying),
        "parked": projection.parked,
        "updated_at": timestamp(projection.updated_at),
    }


def lag(projection: Projection, head: Head) -> timedelta:
    """How long the first event that is not projected has been waiting, by the database's clock."""
    if head.waiting_since is None:
        return timedelta(0)
    # A clock that leapt ahead once may have dated the event into the future. Then the wait is counted from when the
    # projection last moved: the event was appended after that, or shortly before.
    since = head.waiting_since if head.waiting_since <= projection.now else projection.updated_at
    return max(timedelta(0), projection.now - since)


def state(projection: Projection, lag_ms: int, replaying: bool) -> State:
    """What the projection is doing. A replay is told even when the worker that serves meanwhile has stopped."""
    if replaying:
        return "replaying"
    # The clock may have been set back since: a worker that looks leaves the new time within a second.
    if abs(projection.now - projection.seen_at) > STOPPED_AFTER:
        return "stopped"
    return "live" if lag_ms <= LIVE_LAG_MS_MAX else "catching_up"
