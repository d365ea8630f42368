"""The shape of a state: a number that follows from the names and types of its fields. Snapshots are stored under it."""

import hashlib
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

# Seven bytes: a positive bigint.
SHAPE_BYTES = 7


def shape_of_class(state: type[Any], meaning: int = 1) -> int:
    """The number of a class: the same in every process, another one when a field of it or of a nested class changes."""
    text = f"{meaning} {_described(state)}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=SHAPE_BYTES).digest())


def _described(annotation: Any) -> str:
    """A type as text: classes with fields by their fields, all else by name."""
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, type) and annotation.__module__ != "builtins" and (fields := get_type_hints(annotation)):
        return "{" + ",".join(f"{name}:{_described(field)}" for name, field in sorted(fields.items())) + "}"
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return "|".join(map(_described, arguments))
    if origin is not None:
        return f"{_described(origin)}[{','.join(map(_described, arguments))}]"
    # The rest: plain classes and forms such as Literal by name, the values of a Literal as they are.
    return str(getattr(annotation, "__name__", None) or getattr(annotation, "_name", None) or repr(annotation))
