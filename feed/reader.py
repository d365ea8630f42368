"""Reads pages of the log on the read side's connections."""

from typing import NamedTuple

from contract.callers import NOBODYS_ID, Viewer
from contract.names import split
from eventlog import pages
from query.database import Reads, Statement

_LOG_PAGE = Statement(pages.LOG_PAGE)
_STREAM_PAGE = Statement(pages.STREAM_PAGE)
_ACTS_PAGE = Statement(pages.ACTS_PAGE)
_HEAD = Statement(pages.HEAD)
_BUYER = Statement(pages.BUYER)


class Events(NamedTuple):
    """A page of events. `data` is a JSON array of EventViews, ready to be sent; None when there is no such stream.

    `position` is the head of the log when it was read, `last` the position (in a stream: the version) of the last event
    of the page, and `more` whether there are events behind it.
    """

    position: int
    data: bytes | None
    last: int
    more: bool


class Acts(NamedTuple):
    """A page of what operators did. `data` is a JSON array of ActViews, ready to be sent, newest first.

    `position` is the head of the log when it was read, `following` the cursor of the next page, if there is one.
    """

    position: int
    data: bytes
    following: str | None


class LogReader:
    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def page(self, stream: str | None, after: int, limit: int, viewer: Viewer) -> Events:
        """At most `limit` events behind `after`, of the log or of a stream.

        `data` is None if there is no such stream, or the viewer may not see it.
        """
        if stream is not None:
            stream = await self.visible(stream, viewer)
        statement = _LOG_PAGE if stream is None else _STREAM_PAGE
        parameters = {"after": after, "limit": limit} | ({} if stream is None else {"stream": stream})
        position, data, last, end = await self._reads.row(statement, parameters)
        if end is None:
            return Events(position, None, after, False)
        return Events(position, data, last, last < end)

    async def acts(self, before: str | None, limit: int) -> Acts:
        """At most `limit` acts of operators, newest first; `before`: only those older than the act with this id."""
        parameters = {"before": before or "~", "limit": limit}
        position, data, oldest, more = await self._reads.row(_ACTS_PAGE, parameters)
        return Acts(position, data, oldest if more else None)

    async def visible(self, stream: str, viewer: Viewer) -> str:
        """The stream if the viewer may see it, else the name of one that does not exist.

        A viewer who may not see everything sees his user and that user's orders.
        """
        kind, id_ = split(stream)
        if viewer.everyone or (kind == "user" and viewer.sees(id_)):
            return stream
        if kind == "order":
            rows = await self._reads.rows(_BUYER, {"stream": stream, "instead": f"user-{viewer.user_id}"})
            if rows and viewer.sees(rows[0][0]):
                return stream
        return f"{kind}-{NOBODYS_ID}"

    async def position(self) -> int:
        """The head of the log that is read. A replica may be behind the primary."""
        return int((await self._reads.row(_HEAD, {}))[0])
