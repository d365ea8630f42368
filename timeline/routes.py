"""The past over HTTP: a resource at a version or time, its history, and what explains it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request, Response

from contract.caching import IMMUTABLE_PRIVATE, REVALIDATED
from contract.problems import Problem
from contract.requests import none_match
from eventlog.codec import UnreadableEvent, encode
from eventlog.pages import HEAD
from query.database import Reads, Statement
from query.parked import absent
from query.past import PastParameters
from query.routes import MEDIA_TYPE
from query.sync import Sync
from query.waiting import WaitingReads
from timeline.reading import NOW, AsOf, Past, Timeline, Version, When
from timeline.resources import path_of

_HEAD = Statement(HEAD)
# It takes a deployment, not a moment.
_UNREADABLE_RETRY_SECONDS = 60

Answer = TypeVar("Answer")


class PastAnswers:
    """Answers `?version=` and `?as_of=` on one resource, for the routes of the read side.

    `waiting` counts the reads that wait for the log.
    """

    def __init__(self, reads: Reads, waiting: WaitingReads | None = None) -> None:
        self.timeline = Timeline(reads)

        async def position() -> int:
            ((head,),) = await reads.rows(_HEAD, {})
            return int(head)

        self.sync = Sync(position, waiting)

    async def order(self, request: Request, id_: str) -> Response:
        return await self._answer(request, f"order-{id_}")

    async def product(self, request: Request, id_: str) -> Response:
        return await self._answer(request, f"product-{id_}")

    async def user(self, request: Request, id_: str) -> Response:
        return await self._answer(request, f"user-{id_}")

    async def at(self, request: Request, stream: str, parameters: PastParameters) -> Past:
        """The stream at the moment that is wanted. Raises Problem if it did not exist then."""
        when = when_of(parameters)
        past = await self.sync.answer(request, lambda: readable(stream, lambda: self.timeline.at(stream, when)))
        _check(past, when)
        return past

    async def _answer(self, request: Request, stream: str) -> Response:
        past = await self.at(request, stream, PastParameters.of(request))
        path = path_of(stream)
        headers = {"Sync-Token": str(past.position)}
        if past.deleted:
            raise Problem("gone", f"{path} had been deleted by version {past.version}.", headers=headers)
        headers |= {"ETag": f'"{past.version}"', "Content-Location": f"{path}?version={past.version}"}
        headers |= IMMUTABLE_PRIVATE if past.settled else REVALIDATED
        if none_match(request, past.version):
            return Response(None, 304, headers)
        return Response(encode(past.view()), 200, headers, MEDIA_TYPE)


def when_of(parameters: PastParameters) -> When:
    """The moment that is wanted. Raises Problem `invalid-parameter` when two are."""
    if parameters.version is not None and parameters.as_of is not None:
        raise Problem("invalid-parameter", "as_of: send version or as_of, not both.", parameter="as_of")
    if parameters.version is not None:
        return Version(parameters.version)
    return AsOf(parameters.as_of) if parameters.as_of is not None else NOW


async def readable(stream: str, read: Callable[[], Awaitable[Answer]]) -> Answer:
    """What `read` answers. Raises Problem `unreadable-stream` when it cannot read an event."""
    try:
        return await read()
    except UnreadableEvent as error:
        raise Problem(
            "unreadable-stream",
            f"The history of {path_of(stream)} cannot be read: {' '.join(str(error).split())}.",
            headers={"Retry-After": str(_UNREADABLE_RETRY_SECONDS)},
        ) from None


def _check(past: Past, when: When) -> None:
    path, headers = path_of(past.stream), {"Sync-Token": str(past.position)}
    if past.future:
        detail = "as_of: lies in the future. The past can be read, up to now."
        raise Problem("invalid-parameter", detail, parameter="as_of", headers=headers)
    if not past.last:
        raise absent(path, past.position, parked=False)
    if isinstance(when, Version) and when.number > past.last:
        detail = f"{path} has no version {when.number}: its last one is {past.last}."
        raise Problem("not-found", detail, headers=headers)
    if not past.exists:
        raise Problem("not-found", f"{path} did not exist yet at that time.", headers=headers)
