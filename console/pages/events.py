"""The list of events, by type, stream and time."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from console import activity, log
from console.desk import Desk
from console.words import short, typed_time
from contract.names import path_of
from eventlog.codec import UnreadableEvent
from eventlog.events import SCHEMA_VERSIONS
from timeline.folding import CODEC
from timeline.resources import is_stream

STREAM_LENGTH_MAX = 200
_POSITION = re.compile(r"[0-9]{1,18}", re.ASCII)
TYPES = tuple(cls.__name__ for cls in SCHEMA_VERSIONS)


class Asked(NamedTuple):
    """The filter as it was typed, and what is wrong with it."""

    wanted: log.Wanted
    errors: Mapping[str, str]
    before: int | None
    after: int | None


def show(desk: Desk, request: Request) -> Response:
    """A page of the log, newest first. A wrong filter is named beside its field, and finds nothing."""
    asked = _asked(request)
    page = log.Page([], None, None)
    counts: dict[str, int] = {}
    if not asked.errors:
        with desk.database.connection() as connection:
            page = log.page(connection, asked.wanted, asked.before, asked.after)
            until = activity.whole_minute(datetime.now(UTC)) + timedelta(minutes=1)
            counts = activity.by_type(connection, until - timedelta(hours=24), until)
    query = request.query_params
    filters = {name: query.get(name, "") for name in ("stream", "from", "to")} | {"type": query.getlist("type")}
    live = asked.before is None and asked.after is None and not asked.errors
    return desk.page(
        request,
        "events.html",
        events=[(it, _in_words(it), path_of(it.stream) if is_stream(it.stream) else None) for it in page.events],
        page=page,
        asked=asked,
        filters=filters,
        types=sorted({*TYPES, *counts, *asked.wanted.types}),
        counts=counts,
        live=live,
        status=400 if asked.errors else 200,
    )


def _asked(request: Request) -> Asked:
    query = request.query_params
    errors: dict[str, str] = {}
    stream = query.get("stream", "").strip()[:STREAM_LENGTH_MAX] or None
    since, until = (_time(query.get(name, ""), name, errors) for name in ("from", "to"))
    types = tuple(dict.fromkeys(it for it in query.getlist("type") if it))[:20]
    if any("\x00" in it for it in (*types, stream or "")):
        errors["stream"] = "must not contain the character NUL"
    if since and until and since >= until:
        errors["to"] = "must be later than “from”"
    before, after = (
        int(query[name]) if _POSITION.fullmatch(query.get(name, "")) else None for name in ("before", "after")
    )
    return Asked(log.Wanted(types, stream, since, until), errors, before, after)


def _in_words(event: log.Event) -> str:
    """The event in a line; nothing if it is large, or of a type or shape that this release does not know."""
    if event.data is None:
        return ""
    try:
        return short(CODEC.decode(event.type, event.schema_version, event.data).in_words())
    except UnreadableEvent:
        return ""


def _time(text: str, name: str, errors: dict[str, str]) -> datetime | None:
    text = text.strip()
    if not text:
        return None
    try:
        return typed_time(text)
    except (ValueError, OverflowError):
        errors[name] = "must be a time such as 2026-04-01 09:14 (UTC)"
        return None
