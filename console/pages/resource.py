"""One order, product or user: as it was and as it is, and which event set each field."""

from collections.abc import Mapping
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from console.desk import Desk
from console.pages.event import pretty
from console.words import typed_time
from contract.names import id_of, path_of, split
from timeline.comparing import Comparison, compare, has_rows_of
from timeline.finding import streams_of
from timeline.folding import Unfoldable
from timeline.reading import NOW, AsOf, History, Past, Timeline, Version, When, as_far_as_readable
from timeline.resources import Field

STEPS_SHOWN = 25
_VERSION_MAX = 2**31 - 1
_KINDS = {"orders": "order", "products": "product", "users": "user"}
QUERY_LENGTH_MAX = 300
AS_OF_LENGTH_MAX = 100


class Blame(NamedTuple):
    """A field as it was and as it is now, and the event that set the value that was."""

    name: str
    then: Field | None
    now: Field | None

    @property
    def differs(self) -> bool:
        return (self.then and self.then.value) != (self.now and self.now.value)


class Asked(NamedTuple):
    """The parts of the timeline that one page reads."""

    then: Past
    now: Past
    history: History
    comparisons: list[Comparison]


def show(desk: Desk, request: Request) -> Response:
    """The resource at a version or a time, beside what it is now."""
    kind = request.path_params["kind"]
    try:
        stream = f"{_KINDS[kind]}-{id_of(request.path_params['id'])}"
    except (KeyError, ValueError):
        raise HTTPException(404, "That is no id of an order, a product or a user.") from None
    when, error = _when(request)
    asked, unread = desk.ask(partial(as_far_as_readable, partial(_ask, desk, stream, when)))
    if not asked.now.last:
        raise HTTPException(404, f"There is no such {_KINDS[kind]}.")
    if asked.then.future:
        asked, error = asked._replace(then=asked.now), "That time lies in the future."
    then, now = asked.then, asked.now
    view = now.view() if now.exists else {}
    return desk.page(
        request,
        "resource.html",
        kind=_KINDS[kind],
        stream=stream,
        id=split(stream)[1],
        summary=_summary(view),
        then=then,
        now=now,
        name=next((view[it] for it in ("external_id", "sku", "name") if view.get(it)), None),
        version=min(then.version, now.last),
        blames=_blames(then, now),
        steps=asked.history.steps[::-1],
        comparisons=asked.comparisons,
        unread=unread,
        data=pretty(unread.event.data.decode()) if unread else "",
        error=error,
        as_of=request.query_params.get("as_of", "").strip()[:AS_OF_LENGTH_MAX],
    )


def find(desk: Desk, request: Request) -> Response:
    """From what was typed (a position, an id, a SKU, an e-mail address, an external_id) to the page of it."""
    text = request.query_params.get("q", "").strip()[:QUERY_LENGTH_MAX]
    digits = text.replace(",", "")
    if digits.isascii() and digits.isdigit() and len(digits) < 19:
        return desk.renderer.redirect(desk.renderer.url(f"/events/{int(digits)}"))
    streams = desk.ask(partial(streams_of, desk.parts.reads, text)) if text else []
    if len(streams) == 1:
        return desk.renderer.redirect(desk.renderer.url(path_of(streams[0])))
    found = [(stream, path_of(stream)) for stream in streams]
    return desk.page(request, "found.html", 200 if found else 404, text=text, found=found)


def _when(request: Request) -> tuple[When, str | None]:
    version, as_of = request.query_params.get("version", ""), request.query_params.get("as_of", "").strip()
    if as_of:
        try:
            return AsOf(typed_time(as_of)), None
        except (ValueError, OverflowError):
            return NOW, "The time must be one such as 2026-04-01 09:14 (UTC)."
    if version.isascii() and version.isdigit() and 0 < int(version[:11]) <= _VERSION_MAX:
        return Version(int(version[:11])), None
    return NOW, None


async def _ask(desk: Desk, stream: str, when: When, limit: int | None) -> Asked:
    """What the page shows; with `limit` no version behind it, because the next event cannot be read."""
    select = desk.parts.reads
    timeline = Timeline(select)
    latest = NOW if limit is None else Version(limit)
    seen = await timeline.moment(stream, when)
    if limit is not None and seen.version > limit:
        when, seen = latest, await timeline.moment(stream, latest)
    # Each fold goes on from an earlier one: an order of 1,000 lines takes seconds to fold.
    before = await timeline.at(stream, Version(max(0, min(seen.version, seen.last) - STEPS_SHOWN)))
    then = await timeline.at(stream, when, known=[before])
    now = then if when == latest else await timeline.at(stream, latest, known=[before, then])
    if then.version > now.last:
        then = now
    steps = STEPS_SHOWN + 5 if limit is None else min(STEPS_SHOWN + 5, limit - before.version)
    history = await timeline.history(stream, before.version, steps, known=[before])
    comparisons = []
    for projection in desk.parts.projections:
        if now.last and has_rows_of(projection, stream):
            # The rows may have events that only a later release can read.
            with suppress(Unfoldable) if limit is not None else nullcontext():
                comparisons.append(await compare(select, projection, stream, known=[before, then, now]))
    return Asked(then, now, history, comparisons)


def _blames(then: Past, now: Past) -> list[Blame]:
    before: dict[str, Any] = {it.name: it for it in then.fields()} if then.exists else {}
    after = {it.name: it for it in now.fields()} if now.exists else {}
    return [Blame(name, before.get(name), after.get(name)) for name in {**after, **before}]


def _summary(view: Mapping[str, Any]) -> str:
    if "status" in view:
        return f"{view['status'].replace('_', ' ')} · {view['total']} {view['currency']}"
    if "sku" in view:
        stock = "no stock is kept" if view["stock"] is None else f"{view['stock']:,} in stock"
        return f"{view['price']} {view['currency']} · {stock}" + (" · discontinued" if view["discontinued"] else "")
    return ""
