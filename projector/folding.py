"""Folding: events into the row changes that a projection's handlers make of them."""

from collections.abc import Iterable, Sequence
from decimal import Context, localcontext
from typing import Any, cast

from psycopg import Connection

from eventlog.codec import Codec, UnreadableEvent
from eventlog.events import NOT_PROJECTED
from eventlog.read import EventCount, StoredEvent
from projector.narrowing import Refused, refusing
from projector.parking import Parking
from projector.projection import Envelope, Handler, Projection
from projector.rows import Rows
from projector.writer import Writer

Page = Sequence[StoredEvent] | Sequence[EventCount]

# Sums are exact: no amount of NUMERIC that we add up has so many digits.
_EXACT = Context(prec=1_000)


class Folding:
    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._decode = Codec().decode
        self.rows = Rows(projection.tables)
        self._of_one_event = Rows(projection.tables)
        # Which event types make rows that refer to rows of other streams, as far as events of the type have been seen.
        self._refers: dict[type[Any], bool] = {}

    def clear(self) -> None:
        """Forget all changes: their batch was rolled back."""
        self.rows = Rows(self._projection.tables)

    def write(self, connection: Connection, writer: Writer, events: int, position: int) -> None:
        """Write what was folded of `events` events, the first of them at `position`. Raises Refused, psycopg.Error."""
        if self._projection.every is not None:
            writer.write(connection, self.rows)
            return
        with refusing(events, position):
            writer.write(connection, self.rows)

    def fold(self, events: Page, parking: Parking) -> None:
        """Turn events into row changes, except those that are held back. Raises Refused."""
        with localcontext(_EXACT):
            if self._projection.every is None:
                self._fold_events(events, parking)
                return
            for counted in cast("Sequence[EventCount]", events):
                self._projection.every(counted, self.rows)

    def _fold_events(self, events: Iterable[Any], parking: Parking) -> None:
        rows, decode, handlers, refers = self.rows, self._decode, self._projection.on, self._refers
        for number, stored in enumerate(events, 1):
            if parking.any and parking.holds_back(stored):
                continue
            position, stream, version, type_name, schema_version, occurred_at, data = stored
            try:
                event = decode(type_name, schema_version, data)
            except UnreadableEvent as error:
                parking.park(stored, str(error))
                continue
            try:
                handle = handlers[type(event)]
            except KeyError:
                if type(event) in NOT_PROJECTED:
                    continue
                raise
            # "order-0190..." is the kind, a hyphen, and an id of 36 characters.
            of = Envelope(stream[-36:], version, occurred_at)
            try:
                if parking.lacks_rows and refers.get(type(event), True):
                    if missing := self._fold_referring(handle, event, of, parking):
                        parking.park(stored, f"refers to a row that is not there: {missing} is parked", behind=missing)
                    continue
                handle(event, of, rows)
            except Exception as error:
                # The fault is this event's. It may have left some rows, so the batch begins again without it.
                raise Refused(f"{type(error).__name__}: {error}", number, position) from error

    def _fold_referring(self, handle: Handler, event: Any, of: Envelope, parking: Parking) -> str | None:
        """Fold an event whose new rows may refer to a row that is not there; returns the parked stream of that row.

        An event type whose first event made no such rows is taken to make none; the tables' foreign keys find out.
        """
        made = self._of_one_event
        try:
            handle(event, of, made)
            if type(event) not in self._refers:
                self._refers[type(event)] = any(True for _ in self._projection.referred_streams(made))
            missing = next(filter(parking.is_missing, self._projection.referred_streams(made)), None)
            if missing is None:
                self.rows.take(made)
        finally:
            made.clear()
        return missing
