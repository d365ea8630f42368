"""Check that each snapshot equals the state folded from its stream's events."""

from collections.abc import Iterable, Iterator
from itertools import chain, groupby

from psycopg import Connection, sql
from psycopg.types.string import TextLoader

from command.states import KINDS, Entity, Kind, fold
from contract.names import split
from eventlog.codec import Codec
from eventlog.read import PastEvent
from service.doctor.finding import Check, Finding, with_psql

ROWS_AT_ONCE = 100  # an event or a state has a megabyte at most

# This release does not read snapshots of other shapes, so the check leaves them out. One row of a stream is left. Its
# first row alone has the state: a large one beside each of a thousand events would not fit into memory.
_EVENTS = """
SELECT snapshot.stream, snapshot.version, snapshot.shape,
    CASE WHEN coalesce(event.version, 1) = 1 THEN snapshot.state END,
    event.version, event.type, event.schema_version, event.occurred_at, event.data
FROM log.snapshots AS snapshot LEFT JOIN log.events AS event
    ON event.stream = snapshot.stream AND event.version <= snapshot.version
WHERE snapshot.shape = ANY(%s) ORDER BY snapshot.stream, event.version
"""

_REMEDY = sql.SQL("as the tables' owner: DELETE FROM log.snapshots WHERE stream = {}")


def _snapshots(connection: Connection) -> Iterator[Finding]:
    codec = Codec()
    with connection.cursor("snapshots") as cursor:
        cursor.adapters.register_loader("json", TextLoader)
        cursor.itersize = ROWS_AT_ONCE
        rows = cursor.execute(_EVENTS, ([kind.shape for kind in KINDS.values()],))
        for (stream, version, shape), of_stream in groupby(rows, key=lambda row: row[:3]):
            first = next(of_stream)
            state = first[3]
            events = (PastEvent(*row[4:]) for row in chain([first], of_stream) if row[4] is not None)
            kind = KINDS.get(split(stream)[0])
            if kind and kind.shape == shape and (wrong := _wrong(codec, kind, stream, version, state, events)):
                remedy = with_psql(_REMEDY.format(sql.Literal(stream)).as_string())
                yield Finding(
                    f"the snapshot of {stream} {wrong}",
                    f"{remedy}; it is made again. Restart the API, which may have used it",
                )


def _wrong(
    codec: Codec, kind: Kind, stream: str, version: int, state: str | None, events: Iterable[PastEvent]
) -> str | None:
    """The defect of a stream's snapshot, given its events up to the snapshot's version; None if there is none."""
    try:
        folded = fold(codec, stream, Entity(0, None), events)
    except Exception:  # noqa: BLE001 - the check of what can be read reports it
        return None
    if folded.version != version:
        return f"is of version {version}, but the stream ends at {folded.version}"
    try:
        is_right = kind.decode(state or "") == folded.state
    except Exception:  # noqa: BLE001 - whatever it is, it is no state
        return "cannot be read"
    return None if is_right else f"differs from the state of its {version} events"


CHECKS = (Check("snapshots", _snapshots, "commands on this stream may be decided on a wrong state"),)
