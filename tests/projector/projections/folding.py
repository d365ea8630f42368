"""Given these events, these rows: projections without a database."""

from typing import Any, NamedTuple

from msgspec import Raw

from eventlog.codec import encode
from eventlog.events import SCHEMA_VERSIONS, Event
from eventlog.read import StoredEvent
from projector.loop import Loop
from projector.parking import Parking
from projector.rows import Rows

ID = "01900000-0000-7000-8000-000000000001"
USER = "01900000-0000-7000-8000-00000000000a"
PRODUCT = "01900000-0000-7000-8000-00000000000b"


def at(number: int) -> str:
    """When the event of this number happened, as PostgreSQL writes it."""
    return f"2026-01-02 03:04:{number:02}+00"


class Changed(NamedTuple):
    """What a batch does to one table: whole new rows, and new values of columns, by key."""

    inserted: dict[Any, dict[str, Any]]
    set: dict[Any, dict[str, Any]]


def fold(stream: str, *events: Event, after: int = 0) -> Rows:
    """The row changes that a stream's events come to, when `after` of its events are projected already."""
    loop = Loop()
    stored = [
        StoredEvent(
            number, stream, number, type(event).__name__, SCHEMA_VERSIONS[type(event)], at(number), Raw(encode(event))
        )
        for number, event in enumerate(events, after + 1)
    ]
    loop.fold(stored, Parking())
    return loop._rows


def changes(rows: Rows, table: str) -> Changed:
    of_table = getattr(rows, table)
    return Changed(dict(of_table._inserted), dict(of_table._set))
