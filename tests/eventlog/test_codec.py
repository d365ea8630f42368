from dataclasses import dataclass
from typing import Any

import pytest

from eventlog.codec import Codec, UnreadableEvent, encode
from eventlog.events import SCHEMA_VERSIONS
from eventlog.upcasting import UPCASTERS, Upcaster


@dataclass(frozen=True, slots=True)
class BedMade:
    """Version 1 said `sheets`; version 2 `linen`; version 3 has a colour, and counts in pairs."""

    linen: int
    colour: str | None


def to_2(data: dict[str, Any]) -> dict[str, Any]:
    return {"linen": data["sheets"]}


def to_3(data: dict[str, Any]) -> dict[str, Any]:
    return {"linen": data["linen"] // 2, "colour": None}


VERSIONS = {BedMade: 3}
STEPS: dict[tuple[str, int], Upcaster] = {("BedMade", 1): to_2, ("BedMade", 2): to_3}


@pytest.fixture
def codec() -> Codec:
    return Codec(VERSIONS, STEPS)


@pytest.mark.parametrize(
    ("version", "stored", "event"),
    [
        (1, b'{"sheets":4}', BedMade(2, None)),
        (2, b'{"linen":4}', BedMade(2, None)),
        (3, b'{"linen":4,"colour":"white"}', BedMade(4, "white")),
    ],
)
def test_every_version_is_read_in_todays_shape(codec: Codec, version: int, stored: bytes, event: BedMade) -> None:
    assert codec.decode("BedMade", version, stored) == event
    assert codec.decode("BedMade", version, stored.decode()) == event


def test_a_version_left_behind_without_a_step_is_no_codec_at_all() -> None:
    """At the start, not at the first old event."""
    with pytest.raises(KeyError):
        Codec(VERSIONS, {("BedMade", 2): to_3})


@pytest.mark.parametrize(("type_name", "version"), [("BedBurnt", 1), ("BedMade", 4), ("BedMade", 0), ("bedmade", 1)])
def test_decoding_names_a_type_or_version_that_this_release_does_not_know(
    codec: Codec, type_name: str, version: int
) -> None:
    with pytest.raises(UnreadableEvent, match=f"^{type_name} version {version} is not known to this release$"):
        codec.decode(type_name, version, b"{}")


@pytest.mark.parametrize(
    "stored",
    [
        b'{"linen":4,"colour":"whi',
        b"",
        b"null",
        b"[]",
        b'{"linen":4}',
        b'{"linen":"4","colour":null}',
        b'{"linen":4.5,"colour":null}',
    ],
)
def test_data_of_another_shape_is_unreadable(codec: Codec, stored: bytes) -> None:
    with pytest.raises(UnreadableEvent, match=r"^BedMade version 3: "):
        codec.decode("BedMade", 3, stored)


def test_old_data_that_upcasts_to_another_shape_is_unreadable(codec: Codec) -> None:
    with pytest.raises(UnreadableEvent, match=r"^BedMade version 2: "):
        codec.decode("BedMade", 2, b'{"linen":4')
    odd = Codec({BedMade: 2}, {("BedMade", 1): lambda _: {"linen": "many", "colour": None}})
    with pytest.raises(UnreadableEvent, match=r"^BedMade version 1: "):
        odd.decode("BedMade", 1, b"{}")


def test_a_step_that_fails_leaves_its_event_unreadable_and_no_other(codec: Codec) -> None:
    with pytest.raises(UnreadableEvent, match=r"^BedMade version 1: KeyError: 'sheets'$"):
        codec.decode("BedMade", 1, b'{"blankets":1}')
    with pytest.raises(UnreadableEvent, match=r"^BedMade version 2: TypeError: "):
        codec.decode("BedMade", 2, b'{"linen":null}')


def test_a_field_that_a_later_release_added_does_not_stop_this_one(codec: Codec) -> None:
    """Releases run side by side for a while: what is new and may be left out is left out."""
    assert codec.decode("BedMade", 3, b'{"linen":4,"colour":null,"pillows":2}') == BedMade(4, None)


def test_events_are_written_without_spaces_in_the_order_of_their_fields() -> None:
    assert encode(BedMade(4, "weiß")) == '{"linen":4,"colour":"weiß"}'.encode()


def test_every_version_that_was_left_behind_has_its_step() -> None:
    left_behind = {(cls.__name__, old) for cls, version in SCHEMA_VERSIONS.items() for old in range(1, version)}
    assert set(UPCASTERS) == left_behind
