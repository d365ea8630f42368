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


class LogPage(NamedTuple):
    """A page of events or acts. `data` is their JSON array, ready to be sent; empty when there is no such stream.

    `position` is the head of the log when it was read, `following` where the next page begins, if there is one.
    """

    position: int
    data: bytes
    following: str | None


class LogReader:
    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def page(self, stream: str | None, after: int, limit: int, viewer: Viewer) -> LogPage:
        """At most `limit` events behind `after`, of the log or of a stream.

        `data` is empty if there is no such stream, or the viewer may not see it.
        """
        if stream is not None:
            stream = await self.visible(stream, viewer)
        statement = _LOG_PAGE if stream is None else _STREAM_PAGE
        parameters = {"after": after, "limit": limit} | ({} if stream is None else {"stream": stream})
        position, data, last, end = await self._reads.row(statement, parameters)
        if end is None:
            return LogPage(position, b"", None)
        return LogPage(position, data, str(last) if last < end else None)

    async def acts(self, before: str | None, limit: int) -> LogPage:
        """At most `limit` acts of operators, newest first; `before`: only those older than the act with this id."""
        parameters = {"before": before or "~", "limit": limit}
        position, data, oldest, more = await self._reads.row(_ACTS_PAGE, parameters)
        return LogPage(position, data, oldest if more else None)

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
