"""One event: its data, who caused it, the events of the same decision, and what it changed."""

import json
from functools import partial

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from console import log
from console.desk import Desk
from contract.names import path_of
from timeline.folding import Unfoldable
from timeline.reading import Timeline
from timeline.resources import Step, is_stream

# A larger event is shown as far as this; the API has all of it.
DATA_LENGTH_MAX = 200_000


def show(desk: Desk, request: Request) -> Response:
    position = request.path_params["position"]
    if position >= 2**63:
        raise HTTPException(404, "The log has no such position.")
    with desk.database.connection() as connection:
        event = log.event(connection, position)
        if event is None:
            raise HTTPException(404, f"The log has no event at position {position:,}.")
        siblings = log.decision(connection, event)
    text = pretty(event.data or "")
    step: Step | None = None
    trouble = None
    if is_stream(event.stream):
        try:
            steps = desk.ask(partial(Timeline(desk.parts.reads).history, event.stream, event.version - 1, 1)).steps
            step = steps[0] if steps else None
        except Unfoldable as error:
            is_it = error.event.position == position
            trouble = f"It cannot be read: {error}" if is_it else f"What it changed is not known: {error.sentence}"
    return desk.page(
        request,
        "event.html",
        event=event,
        data=text[:DATA_LENGTH_MAX],
        is_cut=len(text) > DATA_LENGTH_MAX,
        metadata=json.loads(event.metadata),
        siblings=siblings,
        step=step,
        trouble=trouble,
        resource=path_of(event.stream) if is_stream(event.stream) else None,
    )


def pretty(text: str) -> str:
    """JSON with a member a line. Numbers stay as they are written."""
    try:
        return msgspec.json.format(text, indent=2)
    except msgspec.DecodeError:
        return text
