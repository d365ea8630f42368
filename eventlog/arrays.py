"""PostgreSQL arrays in binary form, packed here because psycopg dumps a list item by item in Python.

That would cost an append more than the database's own work: 7,200 orders/s on one connection instead of 18,900
(docs/decisions/0002-group-commit.md). The format is PostgreSQL's `array_recv`: dimensions, a has-null flag, the element
type, then per dimension its size and lower bound, then each element as its length and bytes.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from struct import Struct, pack
from typing import Any

from psycopg import BaseConnection
from psycopg.abc import DumperKey
from psycopg.adapt import Buffer, Dumper, PyFormat
from psycopg.pq import Format

_HEADER = Struct("!iiIii")
_pack_length: Callable[[int], bytes] = Struct("!i").pack

INT2, INT4, INT8, TEXT, JSON, BYTEA, TIMESTAMPTZ = 21, 23, 20, 25, 114, 17, 1184
_ARRAY_OIDS = {INT2: 1005, INT4: 1007, INT8: 1016, TEXT: 1009, JSON: 199, BYTEA: 1001, TIMESTAMPTZ: 1185}
_INTEGERS = {INT2: "ih", INT4: "ii", INT8: "iq", TIMESTAMPTZ: "iq"}
_SIZES = {INT2: 2, INT4: 4, INT8: 8, TIMESTAMPTZ: 8}

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Array:
    """An array of one dimension without nulls, ready to be sent as a parameter."""

    __slots__ = ("data", "oid")

    def __init__(self, oid: int, data: bytes) -> None:
        self.oid = oid
        self.data = data


def of_bytes(element: int, items: Sequence[bytes]) -> Array:
    """An array of TEXT, JSON or BYTEA elements, from their bytes."""
    if not items:
        return Array(element, pack("!iiI", 0, 0, element))
    parts = chain.from_iterable(zip(map(_pack_length, map(len, items)), items, strict=True))
    return Array(element, _HEADER.pack(1, 0, element, len(items), 1) + b"".join(parts))


def of_text(items: Iterable[str]) -> Array:
    """A text array."""
    return of_bytes(TEXT, [item.encode() for item in items])


def of_integers(element: int, items: Sequence[int]) -> Array:
    """An array of INT2, INT4 or INT8 elements."""
    if not items:
        return Array(element, pack("!iiI", 0, 0, element))
    flat = chain.from_iterable(zip(repeat(_SIZES[element]), items))
    packed = pack("!" + _INTEGERS[element] * len(items), *flat)
    return Array(element, _HEADER.pack(1, 0, element, len(items), 1) + packed)


def of_times(items: Iterable[datetime]) -> Array:
    """A timestamptz array: microseconds since 2000-01-01 UTC."""
    numbers = [(item - _EPOCH) // _MICROSECOND for item in items]
    return of_integers(TIMESTAMPTZ, numbers)


def register(connection: BaseConnection[Any]) -> None:
    """Let the connection take Arrays as parameters."""
    connection.adapters.register_dumper(Array, ArrayDumper)


class ArrayDumper(Dumper):
    """Hands an Array's bytes to PostgreSQL as they are."""

    format = Format.BINARY

    def get_key(self, obj: Array, format: PyFormat) -> DumperKey:
        return (self.cls, obj.oid)  # type: ignore[return-value]  # any hashable will do, and did since psycopg 3.0

    def upgrade(self, obj: Array, format: PyFormat) -> "ArrayDumper":
        dumper = ArrayDumper(self.cls)
        dumper.oid = _ARRAY_OIDS[obj.oid]
        return dumper

    def dump(self, obj: Array) -> Buffer | None:
        return obj.data
