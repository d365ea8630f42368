"""The content of one transaction of the log: events, claims, snapshots and kept answers."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Self

from eventlog.codec import encode
from eventlog.events import SCHEMA_VERSIONS, Event
from eventlog.idempotency import KeptAnswer
from eventlog.snapshots import Snapshot


class NewEvent(NamedTuple):
    """An event to append; `data` and `metadata` are JSON."""

    stream: str
    version: int
    type: str
    schema_version: int
    occurred_at: datetime
    data: bytes
    metadata: bytes

    @classmethod
    def of(cls, stream: str, version: int, event: Event, at: datetime, metadata: bytes) -> Self:
        """`event`, in today's shape, as the next of its stream."""
        kind = type(event)
        return cls(stream, version, kind.__name__, SCHEMA_VERSIONS[kind], at, encode(event), metadata)


@dataclass(slots=True)
class Batch:
    events: list[NewEvent] = field(default_factory=list)
    claimed: dict[str, str] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    answers: list[KeptAnswer] = field(default_factory=list)
    forget_keys: bool = False
