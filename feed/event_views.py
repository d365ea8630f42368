"""Models of events for the OpenAPI document, made from the event classes. The routes answer the log's own bytes."""

import functools
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union

import msgspec
from pydantic import BaseModel, Discriminator, Field, RootModel, create_model
from typing_extensions import TypeAliasType

from contract.examples import ORDER, ORDER_ID, PLACED, TEA_ID, page_of
from contract.resources import Int32, Int64, Timestamp
from eventlog.events import SCHEMA_VERSIONS
from eventlog.events.record import Record


def _models() -> Iterator[type[BaseModel]]:
    for event in SCHEMA_VERSIONS:
        name = event.__name__
        fields: dict[str, Any] = {
            "position": (Int64, Field(description="its place in the log")),
            "stream": (str, Field(description="what it is about: `order-<id>`", examples=[f"order-{ORDER_ID}"])),
            "version": (Int32, Field(description="its place in the stream")),
            # A schema of its own: of an inline one, the Go client of openapi-generator would not check the value.
            "type": (TypeAliasType(f"{name}Type", Literal[name]), ...),
            "schema_version": (Int32, Field(description="the shape of `data`")),
            "occurred_at": (Timestamp, Field(description="when it happened; an import may say when")),
            "recorded_at": (Timestamp, Field(description="when it was appended")),
            "data": (_model_of(event), ...),
        }
        yield create_model(f"{name}Event", **fields)


@functools.cache
def _model_of(record: type[Record]) -> type[BaseModel]:
    """A model with the fields of the record, and with its docstring."""
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(record):
        default = ... if field.required else field.default
        fields[field.name] = (_type_of(field.type), default)
    documented = record.__doc__ if "__doc__" in vars(record) else None
    return create_model(record.__name__, __doc__=documented, **fields)


def _type_of(annotation: Any) -> Any:
    """The annotation of an event's field, in words of pydantic. Records become models, integers are 64 bits wide."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is types.UnionType:
        return Union[tuple(_type_of(it) for it in arguments)]  # noqa: UP007 - made of a tuple
    if origin is tuple:
        # mypy cannot know a type that is made at run time.
        return list[_type_of(arguments[0])]  # type: ignore[misc]
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return _model_of(annotation)
    return Int64 if annotation is int else annotation


_AnyEvent: Any = Annotated[Union[tuple(_models())], Discriminator("type")]  # noqa: UP007 - made of a tuple


class EventView(RootModel[_AnyEvent]):
    """An event. Its `type` tells which members `data` has; docs/events.md says what they mean."""


_ENVELOPE = {"schema_version": 1, "occurred_at": PLACED, "recorded_at": PLACED}
_PLACED = {
    "position": 5,
    "stream": f"order-{ORDER_ID}",
    "version": 1,
    "type": "OrderPlaced",
    **_ENVELOPE,
    "data": {
        **{name: ORDER[name] for name in ("user_id", "external_id", "currency", "total", "note")},
        "items": [{name: it[name] for name in it if name != "cancelled_quantity"} for it in ORDER["items"]],
    },
}
_RESERVED = {
    "position": 6,
    "stream": f"product-{TEA_ID}",
    "version": 3,
    "type": "StockReserved",
    **_ENVELOPE,
    "data": {"order_id": ORDER_ID, "quantity": 3, "stock_after": 7},
}


EventPage = page_of("EventPage", EventView, _PLACED, _RESERVED, following="6")
