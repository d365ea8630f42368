"""The names that both sides share: ids, streams, and the paths of resources."""

import re

from contract.problems import Problem

ID_RULE = "must be a UUID such as 0197c1c2-7d8e-7c3a-9d51-5a0c1e2f3a4b"

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def id_of(text: str) -> str:
    """A UUID in its usual notation, in lower case. Raises ValueError."""
    if not _UUID.fullmatch(text):
        raise ValueError(ID_RULE)
    return text.lower()


def known_id(text: str) -> str:
    """An id from a path. Raises Problem `not-found` if it is not a UUID, because no resource can have it."""
    try:
        return id_of(text)
    except ValueError:
        raise Problem("not-found", f"{text[:100]!r} is no id: ids are UUIDs.") from None


def split(stream: str) -> tuple[str, str]:
    """A stream's kind (`order`, `product` or `user`) and the id in it."""
    kind, _, id_ = stream.partition("-")
    return kind, id_


def path_of(stream: str) -> str:
    """The path of the resource that is the fold of the stream."""
    kind, id_ = split(stream)
    return f"/{kind}s/{id_}"
