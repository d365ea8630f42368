"""The content of one transaction of the log: events, claims, snapshots and kept answers."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

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


@dataclass(slots=True)
class Batch:
    events: list[NewEvent] = field(default_factory=list)
    claimed: dict[str, str] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    answers: list[KeptAnswer] = field(default_factory=list)
    forget_keys: bool = False
