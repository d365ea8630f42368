"""Given these events, these rows: projections without a database."""

from typing import Any, NamedTuple

from msgspec import Raw
from sqlalchemy.orm import DeclarativeBase

from eventlog.codec import Codec, encode
from eventlog.events import SCHEMA_VERSIONS, Event
from projector.projection import Envelope, Projection
from projector.projections.shop import SHOP
from projector.rows import Rows

decode = Codec().decode

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


def fold(stream: str, *events: Event, after: int = 0, projection: Projection = SHOP) -> Rows:
    """Return the row changes of a stream's events, when `after` of its events are projected already."""
    rows = Rows(projection.tables)
    for number, event in enumerate(events, after + 1):
        stored = decode(type(event).__name__, SCHEMA_VERSIONS[type(event)], Raw(encode(event)))
        projection.on[type(event)](stored, Envelope(stream[-36:], number, at(number)), rows)
    return rows


def changes(rows: Rows, table: type[DeclarativeBase]) -> Changed:
    of_table = rows.of(table)
    return Changed(dict(of_table.inserted), dict(of_table.changed))
