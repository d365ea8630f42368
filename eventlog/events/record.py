"""Plain data that nobody changes: the base class of events, states and commands.

A frozen `msgspec.Struct`: an assignment to a field raises AttributeError. The codec makes one from stored JSON in about
half the time that a dataclass takes. `gc=False`: a record holds text, numbers and tuples of records, never a reference
back, so the garbage collector need not look at it.
"""

import msgspec

replace = msgspec.structs.replace


class Record(msgspec.Struct, frozen=True, gc=False):
    """Slots, equal and hashed by value, frozen."""
