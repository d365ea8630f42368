"""Reading a stream as it was at one moment."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

from contract.problems import Problem
from database.sessions import ROW_IS_MISSING
from eventlog import moments
from eventlog.pages import PAGE_BYTES_MAX
from projector.projection import Projection
from projector.projections.shop import SHOP
from query.database import Statement
from timeline import resources
from timeline.folding import Fold, PastEvent, Unfoldable
from timeline.resources import Field, Step, step_of

_WHOLE = {when: Statement(text) for when, text in moments.WHOLE.items()}
_DECISIVE = {when: Statement(text) for when, text in moments.DECISIVE.items()}
_WITHOUT_EVENTS = {when: Statement(text) for when, text in moments.WITHOUT_EVENTS.items()}
_NEXT = Statement(moments.NEXT)
_POSITION = Statement(moments.POSITION)

T = TypeVar("T")

# Unreadable events of one stream that are passed over, before the answer is of no version.
_UNREADABLE_MAX = 20

# An event of a thousand lines takes many milliseconds to fold, and as many to show. So large events take turns, with a
# pause before each: however many readers there are, the event loop answers others between two of them.
_LARGE_BYTES = 4 * 1024
_BYTES_PER_SECOND = 32 * 1024**2
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class Selecting(Protocol):
    """Runs a select on the log: `query.database.Reads`, or `timeline.connection.Connected`."""

    async def rows(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """The rows. JSON is bytes."""


class Version(NamedTuple):
    """After the first `version` events of the stream."""

    version: int


class AsOf(NamedTuple):
    """At this time: after all events that had been recorded by then."""

    as_of: datetime


class AtPosition(NamedTuple):
    """After the stream's events up to this position of the log."""

    position: int


class Now(NamedTuple):
    """After all events."""


NOW = Now()
When = Version | AsOf | AtPosition | Now


@dataclass(slots=True)
class Past:
    """A stream at one moment.

    `position` is the head of the log when it was read, `last` the stream's last version (0: there is no such stream)
    and `version` the one at the moment, 0 before the first event. `version` may be larger than `last`, if it was asked
    for. `settled`: no later event can change this answer. `future`: the time lies ahead of the database's clock.
    """

    stream: str
    position: int
    last: int
    version: int
    settled: bool
    future: bool
    fold: Fold = field(repr=False)

    @property
    def exists(self) -> bool:
        """Whether the stream had rows by then. Without them there are no fields."""
        return bool(self.fold.rows) and not self.future

    @property
    def deleted(self) -> bool:
        """Whether it is a user who had been deleted by then."""
        return resources.is_deleted(self.fold)

    def view(self) -> dict[str, Any]:
        """The resource as GET answers it. Expects that it exists."""
        return resources.view(self.stream, self.fold)

    def fields(self) -> list[Field]:
        """The fields of the resource, each with the event that set it last. Expects that it exists."""
        return resources.fields(self.stream, self.fold)


class History(NamedTuple):
    """A page of a stream's history, as of the log's `position`. `last` is the stream's last version; 0: no stream."""

    position: int
    last: int
    steps: list[Step]


class Timeline:
    """Answers questions about the past of a stream, as `projection` folds it: without the events that it skips.

    All methods raise what `select` raises, and Unfoldable.
    """

    def __init__(self, select: Selecting, projection: Projection = SHOP) -> None:
        self._select = select
        self._projection = projection

    async def at(self, stream: str, when: When, *, whole: bool = False, known: Sequence[Past] = ()) -> Past:
        """The stream at one moment, folded from every event; a product of `shop` from the few that decide, or `whole`.

        The fold goes on from the latest moment in `known`, which `at` returned, that it can.
        """
        is_short = self._projection is SHOP and stream.startswith("product-") and not whole
        if known and not is_short:
            past = await self.moment(stream, when)
            if start := self._latest(known, past):
                past.fold = start.fold.copy()
                await self._read_on(past.fold, start.version, min(past.version, past.last))
                return past
        past, events = await self._read(stream, when, _DECISIVE if is_short else _WHOLE)
        await _fold(past.fold, events)
        if not is_short and past.fold.last is not None and past.version <= past.last:
            await self._read_on(past.fold, past.fold.last.version, past.version)
        return past

    async def moment(self, stream: str, when: When) -> Past:
        """The stream at one moment, without its events: nothing is folded."""
        past, _ = await self._read(stream, when, _WITHOUT_EVENTS)
        return past

    def _latest(self, known: Sequence[Past], past: Past) -> Past | None:
        usable = [
            it
            for it in known
            if it.fold.goes_on_in(self._projection, past.stream) and it.version <= min(past.version, past.last)
        ]
        return max(usable, key=lambda it: it.version, default=None)

    async def _read(self, stream: str, when: When, statements: Mapping[str, Statement]) -> tuple[Past, list[PastEvent]]:
        # The field of `when` names the statement, and its parameter.
        statement = statements[next(iter(when._fields), "now")]
        parameters = {"stream": stream, "projection": self._projection.name, **when._asdict()}
        rows = await self._select.rows(statement, parameters)
        if not rows:
            raise Problem("unavailable", f"{ROW_IS_MISSING}.")
        position, last, version, settled, future = rows[0][:5]
        past = Past(stream, position, last, version, settled, future, Fold(self._projection, stream))
        return past, _events(row[5:] for row in rows)

    async def history(self, stream: str, after: int, limit: int, *, known: Sequence[Past] = ()) -> History:
        """Events behind version `after`, with what they changed: `limit`, or fewer large ones; `known` as for `at`."""
        past = await self.at(stream, Version(after), known=known)
        events = await self.events(stream, after, past.last, limit) if after < past.last else []
        steps = []
        for event in events:
            await turn_of(event)
            steps.append(step_of(past.fold, event))
        return History(past.position, past.last, steps)

    async def events(
        self, stream: str, after: int, up_to: int, limit: int, bytes_max: int = PAGE_BYTES_MAX
    ) -> list[PastEvent]:
        """The stream's events with after < version <= up_to, oldest first: at most `limit`, fewer if they are large."""
        range_ = {"after": after, "up_to": up_to, "limit": limit, "bytes_max": bytes_max}
        parameters = {"stream": stream, "projection": self._projection.name} | range_
        return _events(await self._select.rows(_NEXT, parameters))

    async def position_at(self, time: datetime) -> int:
        """The last position that had been recorded by `time`; 0 when there is none. About 25 look-ups in a key."""
        ((position,),) = await self._select.rows(_POSITION, {"as_of": time})
        return int(position)

    async def _read_on(self, fold: Fold, after: int, up_to: int) -> None:
        """Fold the rest of a stream page by page, so that other requests are answered meanwhile."""
        while after < up_to:
            page = await self.events(fold.stream, after, up_to, moments.EVENTS_A_PAGE, moments.FOLD_BYTES_MAX)
            await _fold(fold, page)
            after = page[-1].version


async def as_far_as_readable(read: Callable[[int | None], Awaitable[T]]) -> tuple[T, Unfoldable | None]:
    """The answer of `read`, and the event at which it ends because it cannot be read.

    `read` gets None, or the last version that it may read. Of a product's few events another may be unreadable too.
    """
    trouble: Unfoldable | None = None
    for _ in range(_UNREADABLE_MAX):
        try:
            return await read(trouble.event.version - 1 if trouble else None), trouble
        except Unfoldable as error:
            trouble = error
    return await read(0), trouble


async def turn_of(event: PastEvent) -> None:
    """Wait, before work on a large event, until it has its turn among those of all requests."""
    if len(event.data) > _LARGE_BYTES:
        async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            await asyncio.sleep(len(event.data) / _BYTES_PER_SECOND)


async def _fold(fold: Fold, events: Iterable[PastEvent]) -> None:
    for event in events:
        await turn_of(event)
        fold.apply(event)


def _events(rows: Any) -> list[PastEvent]:
    return [PastEvent(*row) for row in rows if row[0] is not None]
