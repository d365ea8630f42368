"""Snapshots: each is what the events of its stream come to."""

from collections.abc import Iterator
from typing import Any

from psycopg import Connection, sql
from psycopg.types.string import TextLoader

from command.states import KINDS
from contract.names import split
from contract.times import rfc3339
from eventlog.codec import Codec
from service.doctor.finding import Check, Finding

WHY = "commands on this stream may be decided on a wrong state"

ROWS_AT_ONCE = 2_000

# This release does not read snapshots of other shapes, so the check leaves them out. One row of a stream is left.
_EVENTS = """
SELECT snapshot.stream, snapshot.version, snapshot.shape, snapshot.state, event.version, event.type,
    event.schema_version, event.occurred_at, event.data
FROM log.snapshots AS snapshot LEFT JOIN log.events AS event
    ON event.stream = snapshot.stream AND event.version <= snapshot.version
WHERE snapshot.shape = ANY(%s) ORDER BY snapshot.stream, event.version
"""


class _Fold:
    """The events of one stream, folded as the write side does, to be held against its snapshot."""

    def __init__(self, codec: Codec, stream: str, version: int, shape: int, stored: str) -> None:
        self.stream = stream
        self._codec = codec
        self._expected = version
        self._stored = stored
        name, self._id = split(stream)
        self._kind = KINDS.get(name)
        self._is_read = self._kind is not None and self._kind.shape == shape
        self._version = 0
        self._state: Any = None
        self._unreadable = False

    def add(self, version: int, type_name: str, schema_version: int, occurred_at: Any, data: str) -> None:
        if self._kind is None or not self._is_read or self._unreadable:
            return
        try:
            event = self._codec.decode(type_name, schema_version, data)
            self._state = self._kind.evolve(self._id, self._state, event, rfc3339(occurred_at))
        except Exception:  # noqa: BLE001 - told by the check of what can be read
            self._unreadable = True
        self._version = version

    def wrong(self) -> str | None:
        if self._kind is None or not self._is_read or self._unreadable:
            return None
        if self._version != self._expected:
            return f"is of version {self._expected}, but the stream ends at {self._version}"
        try:
            same = self._kind.decode(self._stored) == self._state
        except Exception:  # noqa: BLE001 - whatever it is, it is no state
            return "cannot be read"
        return None if same else f"is not what its {self._version} events come to"


def _snapshots(connection: Connection) -> Iterator[Finding]:
    codec = Codec()
    shapes = [kind.shape for kind in KINDS.values()]
    fold: _Fold | None = None
    with connection.cursor("snapshots") as cursor:
        cursor.adapters.register_loader("json", TextLoader)
        cursor.itersize = ROWS_AT_ONCE
        for stream, at, shape, state, version, *event in cursor.execute(_EVENTS, (shapes,)):
            if fold is None or fold.stream != stream:
                yield from _found(fold)
                fold = _Fold(codec, stream, at, shape, state)
            if version is not None:
                fold.add(version, *event)
        yield from _found(fold)


def _found(fold: _Fold | None) -> Iterator[Finding]:
    if fold is not None and (wrong := fold.wrong()):
        remedy = sql.SQL(
            "as the tables' owner: DELETE FROM log.snapshots WHERE stream = {}; it is made again. "
            "Restart the API, which may have used it"
        ).format(sql.Literal(fold.stream))
        yield Finding(f"the snapshot of {fold.stream} {wrong}", remedy.as_string())


CHECKS = (Check("snapshots", _snapshots, WHY),)
