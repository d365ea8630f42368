"""Folding one stream, event by event, and keeping for each column the event that set it last.

The handlers are the projection's own, so what is folded here is what the read tables should have.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from contract.names import split
from eventlog.codec import Codec, UnreadableEvent
from eventlog.events import Event
from projector.projection import Envelope, Projection
from projector.rows import Key, Rows
from readmodel.base import table_of

CODEC = Codec()


class PastEvent(NamedTuple):
    """A stored event. Times are RFC 3339 text, `data` and `metadata` JSON. `skipped`: the projection leaves it out."""

    position: int
    version: int
    type: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    data: bytes
    metadata: bytes
    skipped: bool = False

    @property
    def actor(self) -> dict[str, str | None] | None:
        actor = self._metadata.get("actor")
        if isinstance(actor, dict) and isinstance(actor.get("kind"), str):
            return {"kind": actor["kind"], "id": actor.get("id")}
        return None

    @property
    def request_id(self) -> str | None:
        found = self._metadata.get("request_id")
        return found if isinstance(found, str) else None

    @property
    def _metadata(self) -> Mapping[str, Any]:
        metadata = msgspec.json.decode(self.metadata)
        return metadata if isinstance(metadata, dict) else {}


class Unfoldable(UnreadableEvent):
    """An event of a stream that cannot be read or folded, with the reason."""

    def __init__(self, reason: str, stream: str, event: PastEvent) -> None:
        super().__init__(reason)
        self.stream, self.event = stream, event

    @property
    def sentence(self) -> str:
        """Which event it is, and the reason; without a full stop."""
        event = self.event
        return f"event {event.position} ({event.type}, version {event.version} of {self.stream}) cannot be read: {self}"


class Cell(NamedTuple):
    """A column's value, and the event that set it last."""

    value: Any
    event: PastEvent


# A row of a table, by name of the table and primary key.
Place = tuple[str, Key]


class Fold:
    """The rows that a stream's events make in the tables of `projection`: `rows[table, key][column]` is a Cell."""

    def __init__(self, projection: Projection, stream: str) -> None:
        self._projection = projection
        self.stream = stream
        self._id = split(stream)[1]
        self._of_one_event = Rows(projection.tables)
        self.rows: dict[Place, dict[str, Cell]] = {}
        self.last: PastEvent | None = None
        self._is_out = False
        # The cells that the last event set, as they were before; None for a new row.
        self.before: dict[Place, dict[str, Cell] | None] = {}

    def copy(self) -> "Fold":
        copy = Fold(self._projection, self.stream)
        copy.rows = {place: dict(row) for place, row in self.rows.items()}
        copy.last, copy._is_out = self.last, self._is_out
        return copy

    def goes_on_in(self, projection: Projection, stream: str) -> bool:
        return (self._projection, self.stream) == (projection, stream) and self.last is not None

    def apply(self, past: PastEvent) -> Event | None:
        """Fold one more event; return it decoded, or None if it, or the first of the stream, is skipped.

        Raises Unfoldable, after which the fold is of no use.
        """
        self._is_out = self._is_out or (past.skipped and past.version == 1)
        if past.skipped or self._is_out:
            self.last, self.before = past, {}
            return None
        try:
            return self._apply(past)
        except UnreadableEvent as error:
            raise Unfoldable(str(error), self.stream, past) from error

    def _apply(self, past: PastEvent) -> Event:
        event = CODEC.decode(past.type, past.schema_version, past.data)
        handle = self._projection.on.get(type(event))
        if handle is not None:
            rows = self._of_one_event
            try:
                handle(event, Envelope(self._id, past.version, past.occurred_at), rows)
                self._take(rows, past)
                rows.clear()
            except UnreadableEvent:
                raise
            except Exception as error:
                raise UnreadableEvent(f"{self.stream}: {past.type}: {type(error).__name__}: {error}") from error
        self.last = past
        return event

    def table(self, name: str) -> Iterator[dict[str, Cell]]:
        """The rows of a table, in the order in which they were made."""
        return (row for (table, _), row in self.rows.items() if table == name)

    def _take(self, rows: Rows, past: PastEvent) -> None:
        self.before = {}
        for mapped in self._projection.tables:
            changes, name = rows.of(mapped), str(table_of(mapped).name)
            for key, row in changes.inserted.items():
                self.before[name, key] = None
                self.rows[name, key] = {column: Cell(value, past) for column, value in row.items()}
            for key, columns in changes.changed.items():
                row_there = self.rows.get((name, key))
                if row_there is None:
                    raise UnreadableEvent(f"{self.stream}: {past.type} changes a row that no event has made")
                self.before[name, key] = {column: row_there[column] for column in columns}
                row_there.update({column: Cell(value, past) for column, value in columns.items()})
