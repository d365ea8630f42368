"""Events to stored JSON and back, whatever schema version they were written with."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from eventlog.events import SCHEMA_VERSIONS, Event
from eventlog.upcasting import UPCASTERS, Upcaster

# An event's data as it comes from the database: JSON, in whatever Python holds it.
Stored = bytes | str | msgspec.Raw

encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


class UnreadableEvent(Exception):
    """A stored event that this program cannot read: an unknown type or version, or data of another shape."""


class Codec:
    def __init__(
        self,
        versions: Mapping[type[Any], int] = SCHEMA_VERSIONS,
        upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
    ) -> None:
        self._current: dict[tuple[str, int], Callable[[Stored], Event]] = {}
        for cls, version in versions.items():
            self._current[cls.__name__, version] = msgspec.json.Decoder(cls).decode
            for old in range(1, version):
                self._current[cls.__name__, old] = _through(cls, old, version, upcasters)

    def decode(self, type_name: str, schema_version: int, data: Stored) -> Event:
        """The event in today's shape. Raises UnreadableEvent."""
        read = self._current.get((type_name, schema_version))
        if read is None:
            raise UnreadableEvent(f"{type_name} version {schema_version} is not known to this release")
        try:
            return read(data)
        except msgspec.MsgspecError as error:
            raise UnreadableEvent(f"{type_name} version {schema_version}: {error}") from None
        except Exception as error:
            # An upcasting step failed on this event's data; other events are not affected.
            raise UnreadableEvent(f"{type_name} version {schema_version}: {type(error).__name__}: {error}") from error


def _through(
    cls: type[Any], old: int, version: int, upcasters: Mapping[tuple[str, int], Upcaster]
) -> Callable[[Stored], Event]:
    """A decoder of an old version: as JSON, through each upcaster, into today's class."""
    steps = [upcasters[cls.__name__, number] for number in range(old, version)]

    def decode(data: Stored) -> Event:
        shape = msgspec.json.decode(data)
        for step in steps:
            shape = step(shape)
        event: Event = msgspec.convert(shape, cls)
        return event

    return decode
