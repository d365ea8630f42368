"""The past over HTTP: a resource at a version or time, its history, and the events that explain it."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import Field

from contract.caching import IMMUTABLE_PRIVATE, REVALIDATED
from contract.callers import caller_of
from contract.headers import none_match
from contract.names import path_of
from contract.problems import Problem
from contract.requests import StrictRoute
from contract.resources import Explanation, HistoryPage
from eventlog.codec import UnreadableEvent, encode
from feed.reader import LogReader
from feed.routes import NAMED, get_of
from query.database import Reads
from query.parameters import Name, Number, Parameters, Position
from query.parked import absent
from query.routes import MEDIA_TYPE, json_response, page_response
from query.single import VERSION_MAX, PastParameters
from query.sync import Positioned, Sync
from query.waiting import WaitingReads
from timeline.reading import NOW, AsOf, Past, Timeline, Version, When, turn_of
from timeline.resources import explanation

# A deployment of a release that knows the event ends this, so an early retry is of no use.
_UNREADABLE_RETRY_SECONDS = 60

Answer = TypeVar("Answer", bound=Positioned)

STEPS_DEFAULT = 100
STEPS_MAX = 1_000


class HistoryParameters(Parameters):
    after: Position = Field(0, ge=0, le=VERSION_MAX, description="only events behind this version")
    limit: Number = Field(STEPS_DEFAULT, ge=1, le=STEPS_MAX, description="the most events that the page may have")


class ExplainParameters(PastParameters):
    field: Name | None = Field(None, description="only this field and those below it, such as `items` or `items.2`")


class PastAnswers:
    """Answers `?version=` and `?as_of=` on one resource. `waiting` counts the reads that wait for the log."""

    def __init__(self, reads: Reads, waiting: WaitingReads) -> None:
        self._timeline = Timeline(reads)
        self._log = LogReader(reads)
        self._sync = Sync(self._log.position, waiting)

    async def at(self, request: Request, stream: str, parameters: PastParameters) -> Past:
        """The stream at the moment that is wanted. Raises Problem if it did not exist then, or belongs to another."""
        when = when_of(parameters)
        past = await self._read(request, stream, lambda visible: self._timeline.at(visible, when))
        _check(past, when, path_of(stream))
        return past

    async def history(self, request: Request, stream: str) -> Response:
        parameters = HistoryParameters.of(request)
        history = await self._read(
            request, stream, lambda visible: self._timeline.history(visible, parameters.after, parameters.limit)
        )
        if not history.last:
            raise absent(path_of(stream), history.position, parked=False)
        steps = []
        for step in history.steps:
            await turn_of(step.event)
            steps.append(_shown_to(request, step.view()))
        following = str(steps[-1]["version"]) if steps and steps[-1]["version"] < history.last else None
        return page_response(request, encode(steps), history.position, following, "after")

    async def explain(self, request: Request, stream: str) -> Response:
        parameters = ExplainParameters.of(request)
        past = await self.at(request, stream, parameters)
        explained = explanation(past.fields(), parameters.field)
        if not explained:
            names = ", ".join(dict.fromkeys(field.name.partition(".")[0] for field in past.fields()))
            detail = f"field: {path_of(stream)} has no field {parameters.field!r}. It has: {names}."
            raise Problem("invalid-parameter", detail, parameter="field")
        shown = [_shown_to(request, it) for it in explained]
        return json_response(encode({"version": past.version, "data": shown}), past.position)

    async def _read(self, request: Request, stream: str, read: Callable[[str], Awaitable[Answer]]) -> Answer:
        """Call `read` with the stream and return its answer, which is no older than the request's Sync-Token.

        An order or a user that the caller may not see is read as one that does not exist. A product has no owner.
        """
        viewer = caller_of(request).viewer
        is_product = stream.startswith("product-")

        async def answer() -> Answer:
            visible = stream if is_product else await self._log.visible(stream, viewer)
            try:
                return await read(visible)
            except UnreadableEvent as error:
                raise Problem(
                    "unreadable-stream",
                    f"The history of {path_of(stream)} cannot be read: {' '.join(str(error).split())}.",
                    headers={"Retry-After": str(_UNREADABLE_RETRY_SECONDS)},
                ) from None

        return await self._sync.answer(request, answer)

    async def answer(self, request: Request, stream: str) -> Response:
        past = await self.at(request, stream, PastParameters.of(request))
        path = path_of(stream)
        headers = {"Sync-Token": str(past.position)}
        if past.deleted:
            raise Problem("gone", f"{path} had been deleted by version {past.version}.", headers=headers)
        headers |= {"ETag": f'"{past.version}"', "Content-Location": f"{path}?version={past.version}"}
        headers |= IMMUTABLE_PRIVATE if past.settled else REVALIDATED
        if none_match(request, str(past.version)):
            return Response(None, 304, headers)
        return Response(encode(past.view()), 200, headers, MEDIA_TYPE)


def _shown_to(request: Request, step: dict[str, Any]) -> dict[str, Any]:
    """An event as the caller may see it: a customer does not see who acted for the shop."""
    if caller_of(request).viewer.everyone:
        return step
    return {**step, **dict.fromkeys(step.keys() & {"actor", "request_id"})}


def routers(past: PastAnswers) -> Iterator[APIRouter]:
    for kind, one in NAMED.items():
        routes = APIRouter(tags=[f"{kind}s"], route_class=StrictRoute)
        errors = ["unreadable-stream"]
        told: dict[str, Any] = {"answers": HistoryPage, "parameters": HistoryParameters, "errors": errors}
        text = f"{one}'s history as a person reads it, oldest first, with what each event changed."
        get_of(routes, kind, "history", past.history, f"list_history_of_{kind}", text, **told)
        explained: dict[str, Any] = {"answers": Explanation, "parameters": ExplainParameters, "errors": errors}
        text = f"Which event set each field of {one.lower()} last, now or at a version or time."
        get_of(routes, kind, "explain", past.explain, f"explain_{kind}", text, paged=False, **explained)
        yield routes


def when_of(parameters: PastParameters) -> When:
    """The moment that is wanted. Raises Problem `invalid-parameter` when two are."""
    if parameters.version is not None and parameters.as_of is not None:
        raise Problem("invalid-parameter", "as_of: send version or as_of, not both.", parameter="as_of")
    if parameters.version is not None:
        return Version(parameters.version)
    return AsOf(parameters.as_of) if parameters.as_of is not None else NOW


def _check(past: Past, when: When, path: str) -> None:
    headers = {"Sync-Token": str(past.position)}
    if past.future:
        detail = "as_of: lies in the future. The past can be read, up to now."
        raise Problem("invalid-parameter", detail, parameter="as_of", headers=headers)
    if not past.last:
        raise absent(path, past.position, parked=False)
    if isinstance(when, Version) and when.version > past.last:
        detail = f"{path} has no version {when.version}: its last one is {past.last}."
        raise Problem("not-found", detail, headers=headers)
    if not past.exists:
        why = "has no row: its first event was skipped" if past.version else "did not exist yet at that time"
        raise Problem("not-found", f"{path} {why}.", headers=headers)
