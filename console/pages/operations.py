"""The pages for operations: projections, parked streams, findings, settings."""

from starlette.requests import Request
from starlette.responses import Response

from console.database import Unanswered
from console.desk import Desk
from console.pulse import GROUPS_SHOWN_MAX
from projector.mirror.standings import standings
from projector.parked import groups, held_back

STREAMS_SHOWN_MAX = 200


def projections(desk: Desk, request: Request) -> Response:
    """How far each projection is, and what keeps it; the mirrors of projections in other databases too."""
    with desk.database.connection() as connection:
        mirrors = standings(connection, desk.parts.projections)
    return desk.page(request, "projections.html", mirrors=mirrors)


def parked(desk: Desk, request: Request) -> Response:
    """The parked streams, grouped by cause; with what an operator types to retry or skip them."""
    with desk.database.connection() as connection:
        found = groups(connection, desk.parts.projections)
        held = [
            (it.name, one) for it in desk.parts.projections for one in held_back(connection, it, most=STREAMS_SHOWN_MAX)
        ]
    return desk.page(
        request,
        "parked.html",
        groups=list(enumerate(found[:GROUPS_SHOWN_MAX], 1)),
        more_groups=max(0, len(found) - GROUPS_SHOWN_MAX),
        held=held[:STREAMS_SHOWN_MAX],
        more=max(0, sum(it.streams for it in found) - STREAMS_SHOWN_MAX),
    )


def doctor(desk: Desk, request: Request) -> Response:
    return desk.page(request, "doctor.html", checks=desk.parts.checks)


def configuration(desk: Desk, request: Request) -> Response:
    """The versions of what runs, and each setting: first those that were set, then the defaults. No secret is in it."""
    try:
        with desk.database.connection() as connection:
            postgresql = connection.info.parameter_status("server_version") or "unknown"
    except Unanswered:
        postgresql = "does not answer"
    default = [it for it in desk.parts.settings if it.source == "default"]
    return desk.page(
        request,
        "configuration.html",
        groups={"Set": [it for it in desk.parts.settings if it not in default], "Left at their defaults": default},
        versions=desk.parts.versions(postgresql),
    )
