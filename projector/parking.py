"""Parking: an event that cannot be projected holds back its own stream, and no other.

From that event on the stream is parked: the tables lack its events. A parked stream is one row, which names the first
event that is missing. An event that refers to a missing row (an order of a parked user) parks its stream behind the
other. When the cause is mended, a retry projects what was held back, in order; or an operator skips the event. Each
projection parks for itself. See docs/decisions/0013-a-bad-event-parks-its-stream.md.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, Self

from psycopg import Connection

from eventlog.read import StoredEvent


class Parked(NamedTuple):
    """A stream that is held back, and the first of its events that the tables lack.

    `behind` is the parked stream whose row it refers to. `skipped`: its first event was, so it stays out for good.
    """

    stream: str
    position: int
    version: int
    type: str
    error: str
    behind: str | None
    skipped: bool


class Kept(NamedTuple):
    """What is kept in memory of a parked stream. Many have the same, so it is one object."""

    version: int
    skipped: bool


_kept = lru_cache(maxsize=1_000)(Kept)


class ParkedStreams:
    """The parked streams of a projection, kept in memory: read again only when another process has changed them."""

    def __init__(self, read: Callable[[Connection], Iterable[tuple[str, int, bool]]]) -> None:
        self._read = read
        self._changes = -1
        self.streams: dict[str, Kept] = {}
        # Whether the row of one of them is missing, and how many do not stay out for good. To look through 10,000
        # streams takes 0.7 ms, so it is done when they change.
        self.lacks_rows = False
        self.waiting = 0

    def load(self, connection: Connection, changes: int) -> Self:
        """Itself, read anew if need be; `changes` is the checkpoint's count, which must be locked."""
        if changes != self._changes:
            self.streams = {stream: _kept(version, skipped) for stream, version, skipped in self._read(connection)}
            self._changes = changes
            self._look_through()
        return self

    def committed(self, parking: "Parking", changes: int) -> None:
        """Take over what a transaction has changed, which is committed; `changes` is the count of before."""
        if changes != self._changes:
            return
        for stream in parking.released:
            self.streams.pop(stream, None)
        self.streams.update({it.stream: _kept(it.version, it.skipped) for it in parking.new.values()})
        self._changes = changes + parking.has_changed
        if parking.has_changed:
            self._look_through()

    def _look_through(self) -> None:
        self.lacks_rows = any(it.version == 1 for it in self.streams.values())
        self.waiting = sum(not it.skipped for it in self.streams.values())


class Parking:
    """The streams that one transaction holds back while it projects.

    `skipped` are the positions that operators left out, `given_up` those of events that failed, each with the error.
    """

    def __init__(self, parked: ParkedStreams, skipped: Iterable[int], given_up: Mapping[int, str]) -> None:
        self._parked = parked.streams
        self._waiting = parked.waiting
        self._skipped = frozenset(skipped)
        self._given_up = given_up
        self.new: dict[str, Parked] = {}
        self.released: set[str] = set()
        # Whether a row may be missing that an event refers to. Checking that costs each event a little.
        self.lacks_rows = parked.lacks_rows
        # False as long as there is nothing to look for.
        self.any = bool(self._parked or self._skipped or self._given_up)

    @property
    def count(self) -> int:
        """How many streams are parked. Those that stay out for good do not count: no read has to look for them."""
        before = [it for stream in self.released | self.new.keys() if (it := self._parked.get(stream))]
        return self._waiting + sum(not it.skipped for it in self.new.values()) - sum(not it.skipped for it in before)

    @property
    def has_changed(self) -> bool:
        return bool(self.new or self.released)

    def get(self, stream: str) -> Parked | Kept | None:
        if stream in self.released:
            return self.new.get(stream)
        return self.new.get(stream) or self._parked.get(stream)

    def release(self, stream: str) -> None:
        self.released.add(stream)

    def put_back(self, stream: str) -> None:
        """Leave a released stream parked where it was."""
        self.released.discard(stream)
        self.new.pop(stream, None)

    def holds_back(self, event: StoredEvent) -> bool:
        stream = event.stream
        if (stream in self._parked or stream in self.new) and self.get(stream):
            return True
        if event.position in self._skipped:
            if event.version == 1:
                self.park(event, "skipped", skipped=True)
            return True
        error = self._given_up.get(event.position)
        if error is not None:
            self.park(event, error)
        return error is not None

    def is_missing(self, stream: str) -> bool:
        """Whether the stream's row is missing because its first event is held back."""
        if stream not in self._parked and stream not in self.new:
            return False
        parked = self.get(stream)
        return parked is not None and parked.version == 1

    def park(self, event: StoredEvent, error: str, *, behind: str | None = None, skipped: bool = False) -> None:
        parked = Parked(event.stream, event.position, event.version, event.type, error, behind, skipped)
        self.new[event.stream] = parked
        self.any = True
        self.lacks_rows = self.lacks_rows or event.version == 1
