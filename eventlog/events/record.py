"""Immutable data: the base classes of events, states and commands.

A frozen `msgspec.Struct`: an assignment to a field raises AttributeError. The codec makes one from stored JSON in about
half the time that a dataclass takes. `gc=False`: a record holds text, numbers and tuples of records, never a reference
back, so the garbage collector need not look at it.
"""

import msgspec

replace = msgspec.structs.replace


class Record(msgspec.Struct, frozen=True, gc=False):
    """Slots, equal and hashed by value, frozen."""


class Happened(Record, frozen=True):
    def in_words(self) -> str:
        """The event in a line for people. An event without words of its own shows its type."""
        return type(self).__name__


def counted(number: int, one: str) -> str:
    """`1 piece`, `2 pieces`."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"
