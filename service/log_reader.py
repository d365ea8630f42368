"""Reads the log for GET /events, because query/ does not import eventlog/."""

from eventlog import pages
from query.database import Reads, Statement
from query.events import Events

_LOG_PAGE = Statement(pages.LOG_PAGE)
_STREAM_PAGE = Statement(pages.STREAM_PAGE)
_HEAD = Statement(pages.HEAD)


class LogReader:
    """Implements query.events.EventReader on the read side's connections."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def page(self, stream: str | None, after: int, limit: int) -> Events:
        """At most `limit` events behind `after`, of the stream or of the whole log."""
        statement = _LOG_PAGE if stream is None else _STREAM_PAGE
        parameters = {"after": after, "limit": limit} | ({} if stream is None else {"stream": stream})
        ((position, data, last, end),) = await self._reads.rows(statement, parameters)
        if end is None:
            return Events(position, None, after, False)
        return Events(position, data, last, last < end)

    async def position(self) -> int:
        """The log's head."""
        ((position,),) = await self._reads.rows(_HEAD, {})
        return int(position)
