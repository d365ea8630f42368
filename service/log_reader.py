"""The log for the read side, which does not know it: events as resources, and the head that lag is measured against."""

from eventlog import pages
from projector.status import REPLAYING
from query.database import Reads, Statement
from query.events import Events
from query.projections import Head

_LOG_PAGE = Statement(pages.LOG_PAGE)
_STREAM_PAGE = Statement(pages.STREAM_PAGE)
_HEAD = Statement(pages.HEAD)
_REPLAYING = Statement(REPLAYING)


class LogReader:
    """Implements query.events.EventReader and query.projections.HeadReader, on the read side's connections."""

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
        return (await self.head(0)).position

    async def head(self, projected: int) -> Head:
        """The log's head, and since when the event behind `projected` waits."""
        ((position, waiting_since),) = await self._reads.rows(_HEAD, {"projected": projected})
        return Head(position, waiting_since)

    async def replaying(self) -> bool:
        """Whether a replay is building new read tables now."""
        ((replaying,),) = await self._reads.rows(_REPLAYING, {})
        return bool(replaying)
