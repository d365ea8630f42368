"""The format of stored events is a promise: these bytes are in somebody's log.

A line in golden/events.jsonl is never changed. A new event type, or a new schema version, gets a new line there, and
its event in EVENTS; a version that is no longer written keeps its line, and is read as the event that it has become.
"""

from pathlib import Path

import msgspec
import pytest

from eventlog.codec import Codec, encode
from eventlog.events import (
    SCHEMA_VERSIONS,
    CancelledLine,
    Event,
    OperatorActed,
    OrderCancelled,
    OrderItem,
    OrderLinesCancelled,
    OrderPlaced,
    ProductAdded,
    ProductChanged,
    ProductDiscontinued,
    ProductRepriced,
    StockAdjusted,
    StockReleased,
    StockReserved,
    UserChanged,
    UserDeleted,
    UserRegistered,
)

USER = "01900000-0000-7000-8000-00000000000a"
CUP = "01900000-0000-7000-8000-00000000000b"
POSTAGE = "01900000-0000-7000-8000-00000000000c"
ORDER = "01900000-0000-7000-8000-00000000000d"

# What each line of the file means, line by line.
EVENTS: list[Event] = [
    UserRegistered("Ada Lovelace", "Ada@example.org", "ada@example.org", "crm-1"),
    UserRegistered("Zoë 東京 \U0001f9fe \"'\\/\t\n\x7f", "zoë@example.org", "zoë@example.org", None),
    UserChanged("Ada King", "ada.king@example.org", "ada.king@example.org"),
    UserChanged(email="ada@example.org", email_key="ada@example.org"),
    UserChanged(name="Ada"),
    UserDeleted(),
    ProductAdded("CUP-1", "Cup", "2.50", "EUR", True),
    ProductAdded("POST", "Postage", "0.125", "JPY", False),
    ProductChanged("Mug"),
    ProductRepriced("999999999999.9999"),
    ProductDiscontinued(),
    StockAdjusted(-3, "broken", 1_000_000_000_000),
    StockReserved(ORDER, 4, 0),
    StockReleased(ORDER, 1, 1),
    OrderPlaced(
        USER,
        "shop-1",
        "EUR",
        "14.00",
        "leave it at the door",
        (
            OrderItem(1, CUP, "CUP-1", "Cup", 4, "2.50", "10.00"),
            OrderItem(2, POSTAGE, "POST", "Postage", 1, "4.00", "4.00"),
        ),
    ),
    OrderPlaced(USER, None, "EUR", "2.50", None, (OrderItem(1, CUP, "CUP-1", "Cup", 1, "2.50", "2.50"),)),
    OrderLinesCancelled(
        USER, "EUR", "too many", "credit-1", (CancelledLine(1, CUP, "CUP-1", 1, "2.50", 1),), "2.50", "2.50"
    ),
    OrderLinesCancelled(USER, "EUR", None, None, (CancelledLine(1, CUP, "CUP-1", 1, "2.50", 2),), "2.50", "5.00"),
    OrderCancelled(
        USER,
        "EUR",
        "lost",
        None,
        (CancelledLine(1, CUP, "CUP-1", 2, "2.50", 4), CancelledLine(2, CUP, "CUP-1", 1, "2.50", 1)),
        "9.00",
        "14.00",
    ),
    OrderCancelled(USER, "EUR", None, "credit-2", (CancelledLine(1, CUP, "CUP-1", 4, "2.50", 4),), "10.00", "10.00"),
    OperatorActed("key.revoked", "key Ab12Cd34", "it was published"),
    OperatorActed("key.created", "key Ab12Cd34", None),
]


class Golden(msgspec.Struct, frozen=True):
    """A stored event: `data` is the bytes as they are in the log."""

    type: str
    schema_version: int
    data: msgspec.Raw


LINES = (Path(__file__).parent / "golden" / "events.jsonl").read_bytes().splitlines()
GOLDEN = [msgspec.json.decode(line, type=Golden) for line in LINES]
PAIRS = list(zip(GOLDEN, EVENTS, strict=True))
NAMES = [f"{number}-{golden.type}.{golden.schema_version}" for number, golden in enumerate(GOLDEN, 1)]


@pytest.mark.parametrize(("golden", "event"), PAIRS, ids=NAMES)
def test_stored_bytes_are_read_as_this_event(golden: Golden, event: Event) -> None:
    assert type(event).__name__ == golden.type
    assert Codec().decode(golden.type, golden.schema_version, golden.data) == event


@pytest.mark.parametrize(("golden", "event"), PAIRS, ids=NAMES)
def test_this_event_is_stored_as_these_bytes(golden: Golden, event: Event) -> None:
    if golden.schema_version == SCHEMA_VERSIONS[type(event)]:
        assert encode(event) == bytes(golden.data)


def test_every_version_ever_written_has_a_line() -> None:
    """Red? An event was added or its shape changed: add a line; raise its version if it was written before."""
    written = {(cls.__name__, version) for cls, last in SCHEMA_VERSIONS.items() for version in range(1, last + 1)}
    assert written == {(golden.type, golden.schema_version) for golden in GOLDEN}


def test_every_field_of_every_event_is_in_a_line() -> None:
    """With null and without, where it may be null: a field whose value is left to chance promises nothing."""
    for cls in SCHEMA_VERSIONS:
        events = [event for event in EVENTS if type(event) is cls]
        for field in msgspec.inspect.type_info(cls).fields:  # type: ignore[attr-defined]
            values = {getattr(event, field.name) is None for event in events}
            may_be_null = isinstance(field.type, msgspec.inspect.UnionType) and field.type.includes_none
            assert values == ({True, False} if may_be_null else {False}), f"{cls.__name__}.{field.name}"
