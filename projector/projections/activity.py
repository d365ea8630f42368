"""The projection `activity`: how many events of each type were appended in each minute, and where in the log."""

from eventlog.read import EventCount
from projector.projection import Projection
from projector.rows import Rows
from readmodel.activity import EventsPerMinute


def counted(counted: EventCount, rows: Rows) -> None:
    """Every event counts, also one of a type that this release does not know."""
    positions = {"first_position": counted.first_position}, {"last_position": counted.last_position}
    rows.add(EventsPerMinute, (counted.minute, counted.type), {"events": counted.events}, *positions)


ACTIVITY = Projection(tables=(EventsPerMinute,), every=counted, rest_seconds=0.5, batch_events=100_000)
