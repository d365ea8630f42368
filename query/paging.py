"""Keyset cursors: where the next page starts, tied to the list, its sort and its filters."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from fastapi import Request
from sqlalchemy import Column

from contract.names import id_of
from contract.problems import Problem
from contract.times import rfc3339

SortValue = datetime | Decimal | str


@dataclass(frozen=True, slots=True)
class Sort:
    """A column to sort by, and how to read its values back from a cursor."""

    column: Column[SortValue]
    parse: Callable[[str], SortValue]


@dataclass(frozen=True, slots=True)
class Place:
    """The last row of a page: the next page starts behind it."""

    value: SortValue
    id: str


def tie(name: str, sort: str, filters: Mapping[str, object]) -> str:
    """A digest that ties a cursor to the list called `name`, with this sort and these filters."""
    return hashlib.blake2b(repr((name, sort, sorted(filters.items()))).encode(), digest_size=6).hexdigest()


def cursor_of(place: Place, tied_to: str) -> str:
    return cursor_text((_text(place.value), place.id), tied_to)


def place_of(cursor: str, sort: Sort, tied_to: str) -> Place:
    """The place that a cursor names. Raises Problem `invalid-cursor` for any other text."""
    return Place(*values_of(cursor, tied_to, (sort.parse, id_of)))


def cursor_text(values: Sequence[str], tied_to: str) -> str:
    """A cursor of any values: base64url of a JSON array of the tie and the values."""
    content = msgspec.json.encode((tied_to, *values))
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def values_of(cursor: str, tied_to: str, parse: Sequence[Callable[[str], Any]]) -> list[Any]:
    """The values in a cursor, each read by its function. Raises Problem `invalid-cursor` for any other text."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        content = base64.b64decode(padded, altchars=b"-_", validate=True)
        was_tied_to, *values = msgspec.json.decode(content, type=list[str])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise _unknown() from None
    if was_tied_to != tied_to:
        raise Problem("invalid-cursor", "The cursor belongs to another list, another sort or other filters.")
    try:
        return [read(value) for read, value in zip(parse, values, strict=True)]
    except ValueError:
        raise _unknown() from None


def _unknown() -> Problem:
    return Problem("invalid-cursor", "The cursor is not one that this service handed out.")


def link_to_next(request: Request, **changes: str) -> str:
    """The Link header: this request's URL (relative, so that it holds behind a proxy) with some parameters changed."""
    sent = parse_qsl(request.scope["query_string"].decode("ascii"))
    pairs = [(name, changes.pop(name, value)) for name, value in sent]
    return f'<{quote(request.scope["path"])}?{urlencode([*pairs, *changes.items()])}>; rel="next"'


def _text(value: SortValue) -> str:
    match value:
        case datetime():
            return rfc3339(value)
        case Decimal():
            return f"{value:f}"
        case str():
            return value
