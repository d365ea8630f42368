"""The projection `activity`: how many events of each type were appended in each minute, and where in the log."""

from eventlog.read import EventHead
from projector.projection import Projection
from projector.rows import Rows
from readmodel.activity import EventsPerMinute


def counted(event: EventHead, rows: Rows) -> None:
    """Every event counts, also one of a type that this release does not know."""
    minute = event.recorded_at[:16]
    here = {"first_position": event.position}, {"last_position": event.position}
    rows.add(EventsPerMinute, (minute, event.type), {"events": 1}, *here)


ACTIVITY = Projection(tables=(EventsPerMinute,), every=counted, rest_seconds=0.5)
