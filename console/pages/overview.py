"""The overview: is the service well, and if not, what is there to do."""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from console import activity
from console.database import Unanswered
from console.desk import Desk
from eventlog.events.order import OrderPlaced

_ORDER_PLACED = OrderPlaced.__name__


def show(desk: Desk, request: Request) -> Response:
    pulse = desk.heart.pulse()
    wanted = request.query_params.get("range")
    shown = next((it for it in activity.RANGES if it.name == wanted), activity.RANGES[0])
    drawn, rate, events = None, None, {}
    if pulse.status is not None:
        # The chart ends with the minute that is not over yet. The rate is of the last whole one.
        whole = activity.whole_minute(pulse.status.projections[0].now)
        until = whole + timedelta(minutes=1)
        try:
            with desk.database.connection() as connection:
                drawn = activity.buckets(connection, until - shown.length, until, shown.step, [_ORDER_PLACED])
                last = activity.by_type(connection, whole - timedelta(minutes=1), whole)
                events = activity.by_type(connection, until - shown.length, until)
                rate = last.get(_ORDER_PLACED, 0)
        except Unanswered:
            pass  # the pulse says so, or the next one will
    return desk.page(
        request,
        "overview.html",
        pulse=pulse,
        chart=drawn,
        rate=rate,
        events=sorted(events.items(), key=lambda it: -it[1]),
        ranges=activity.RANGES,
        range=shown,
    )
