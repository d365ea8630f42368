"""Several moments of one stream are folded in one go, as a page of the console shows them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from eventlog.events import UserChanged, UserRegistered
from projector.projections.shop import SHOP
from query.database import Reads, Statement
from tests.builders import append_events, new_event
from tests.projecting import sweep
from timeline.comparing import compare
from timeline.reading import NOW, Timeline, Version

USER = "user-0197c1c2-7d8e-7000-8000-000000000001"
EVENTS = 300


class Counting:
    """Runs selects, and counts the events that they returned."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self.events = 0

    async def rows(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        rows = await self._reads.rows(statement, parameters)
        self.events += sum("User" in str(row) for row in rows)
        return rows


def test_later_moments_go_on_from_earlier_ones(database_url: str) -> None:
    registered = UserRegistered("Ada", "ada@example.org", "ada@example.org", None)
    changes = [new_event(USER, version, UserChanged(f"Ada {version}")) for version in range(2, EVENTS + 1)]
    append_events(database_url, [new_event(USER, 1, registered), *changes])

    sweep(database_url)

    async def ask() -> None:
        async with Reads(database_url) as reads:
            counting = Counting(reads)
            timeline = Timeline(counting)
            before = await timeline.at(USER, Version(EVENTS - 30))
            then = await timeline.at(USER, Version(EVENTS - 10), known=[before])
            now = await timeline.at(USER, NOW, known=[before, then])
            history = await timeline.history(USER, before.version, 30, known=[before])
            assert counting.events <= EVENTS + 30
            fresh = Timeline(reads)
            assert [before.view(), then.view(), now.view()] == [
                (await fresh.at(USER, when)).view() for when in (Version(EVENTS - 30), Version(EVENTS - 10), NOW)
            ]
            assert history == await fresh.history(USER, EVENTS - 30, 30)
            assert now.fields() == (await fresh.at(USER, NOW)).fields()
            known, alone = await compare(reads, SHOP, USER, known=[now]), await compare(reads, SHOP, USER)
            assert known == alone

    asyncio.run(ask())
