"""The past of a stream of large events: pages end early, and other requests are answered meanwhile."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from eventlog.events import Event, UserChanged, UserRegistered
from eventlog.moments import FOLD_BYTES_MAX
from eventlog.pages import PAGE_BYTES_MAX
from query.database import Reads, Statement
from tests.builders import append_events, new_event
from tests.served import served
from timeline.folding import Fold, PastEvent
from timeline.reading import NOW, Timeline

USER = "0197c1c2-7d8e-7000-8000-000000000001"
EVENTS = 30
NAME_BYTES = 300_000
READERS = 8


@pytest.fixture(scope="module")
def filled_url(module_database_url: str) -> str:
    """A database with a user who has had many long names."""
    names = [f"{version:02}".ljust(NAME_BYTES, "x") for version in range(1, EVENTS + 1)]
    registered = UserRegistered(names[0], "ada@example.org", "ada@example.org", None)
    changes = [new_event(f"user-{USER}", version, UserChanged(names[version - 1])) for version in range(2, EVENTS + 1)]
    append_events(module_database_url, [new_event(f"user-{USER}", 1, registered), *changes])
    return module_database_url


def test_a_page_of_a_history_is_bounded_in_bytes_and_no_event_is_left_out(filled_url: str) -> None:
    versions: list[int] = []
    after: str | None = "0"
    with served(filled_url) as shop:
        while after is not None:
            page = shop.get(f"/users/{USER}/history", params={"limit": 1000, "after": after}).json()
            assert 0 < len(page["data"]) <= PAGE_BYTES_MAX // NAME_BYTES + 1
            versions += [step["version"] for step in page["data"]]
            after = page["next"]
    assert versions == list(range(1, EVENTS + 1))


class Turning:
    """Runs selects, and counts the turns of the event loop while none is under way."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._is_reading = False
        self.turns = 0

    async def rows(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        self._is_reading = True
        rows = await self._reads.rows(statement, parameters)
        self._is_reading = False
        return rows

    async def count(self) -> None:
        while True:
            self.turns += not self._is_reading
            await asyncio.sleep(0)


def test_other_requests_are_answered_between_two_large_events(filled_url: str) -> None:
    async def turns() -> tuple[int, int]:
        async with Reads(filled_url) as reads:
            turning = Turning(reads)
            counting = asyncio.create_task(turning.count())
            past = await Timeline(turning).at(f"user-{USER}", NOW)
            folding, turning.turns = turning.turns, 0
            await Timeline(turning).history(f"user-{USER}", 0, EVENTS)
            counting.cancel()
            assert past.version == EVENTS
            return folding, turning.turns

    folding, telling = asyncio.run(turns())
    assert folding >= EVENTS
    assert telling >= PAGE_BYTES_MAX // NAME_BYTES


def test_others_are_answered_between_the_large_events_of_many_readers(
    filled_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, since_turn, bunches = Fold.apply, [0], list[int]()

    def counted(fold: Fold, past: PastEvent) -> Event | None:
        since_turn[0] += 1
        return apply(fold, past)

    async def turn() -> None:
        while True:
            bunches.append(since_turn[0])
            since_turn[0] = 0
            await asyncio.sleep(0)

    async def read() -> None:
        async with Reads(filled_url) as reads:
            turning = asyncio.create_task(turn())
            timeline = Timeline(reads)
            await asyncio.gather(*[timeline.at(f"user-{USER}", NOW) for _ in range(READERS)])
            turning.cancel()

    monkeypatch.setattr(Fold, "apply", counted)
    asyncio.run(read())
    assert sum(bunches) == READERS * EVENTS
    assert max(bunches) == 1


class Weighing:
    """Runs selects, and keeps how many bytes each has answered."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self.bytes: list[int] = []

    async def rows(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        rows = await self._reads.rows(statement, parameters)
        self.bytes.append(sum(len(value) for row in rows for value in row if isinstance(value, bytes)))
        return rows


def test_a_fold_reads_little_at_a_time_because_many_may_be_under_way(filled_url: str) -> None:
    async def read() -> list[int]:
        async with Reads(filled_url) as reads:
            weighing = Weighing(reads)
            assert (await Timeline(weighing).at(f"user-{USER}", NOW)).version == EVENTS
            return weighing.bytes

    taken = asyncio.run(read())
    assert max(taken) < FOLD_BYTES_MAX + 2 * NAME_BYTES
    assert sum(taken) > EVENTS * NAME_BYTES
