"""Look-ups: alone at once, together when they arrive while one is in flight."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, literal_column

from contract.callers import EVERYONE
from contract.problems import Problem
from query.database import Reads, Statement
from query.lookup import Found, Lookup
from query.sharing import ITEMS_MAX
from query.views import JsonText, user_view
from readmodel.shop import users
from tests.query.rows import START, Rows

pytestmark = pytest.mark.anyio


class Watched(Reads):
    """Reads that keep count."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: list[int] = []

    async def rows(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        self.asked.append(str(parameters["ids"]).count(",") + 1)
        return await super().rows(statement, parameters)


async def together(*asked: Awaitable[Any], return_exceptions: bool = False) -> list[Any]:
    """asyncio.gather, but a look-up that is never answered fails."""
    async with asyncio.timeout(10):
        return await asyncio.gather(*asked, return_exceptions=return_exceptions)


def lookup_on(reads: Reads, view: JsonText | None = None) -> Lookup:
    return Lookup(reads, users, user_view(users) if view is None else view, gone=users.c.deleted_at.is_not(None))


def version_of(found: Found) -> int:
    return int(found.tag.partition(".")[0])


async def test_lookups_that_arrive_in_flight_are_joined_into_one_query(database_url: str, rows: Rows) -> None:
    wanted = [rows.user(version=number + 1) for number in range(20)]
    async with Watched(database_url) as reads:
        lookup = lookup_on(reads)
        first = asyncio.create_task(lookup.find(wanted[0], EVERYONE))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        found = await together(first, *(lookup.find(id_, EVERYONE) for id_ in wanted[1:]))
    assert [version_of(one) for one in found] == list(range(1, 21))
    assert all(id_.encode() in (one.body or b"") for id_, one in zip(wanted, found, strict=True))
    assert reads.asked == [1, 19]


async def test_the_same_id_is_asked_for_once(database_url: str, rows: Rows) -> None:
    user, other = rows.user(), rows.user()
    async with Watched(database_url) as reads:
        lookup = lookup_on(reads)
        found = await together(*(lookup.find(id_, EVERYONE) for id_ in [user, other, *[user] * 5]))
    assert sum(reads.asked) == 2
    assert [one == found[0] for one in found] == [True, False, *[True] * 5]


async def test_an_id_that_was_asked_for_before_is_read_again(database_url: str, rows: Rows) -> None:
    """What is in flight may be older than the question; nothing is kept."""
    user = rows.user()
    async with Watched(database_url) as reads:
        lookup = lookup_on(reads)
        first = asyncio.create_task(lookup.find(user, EVERYONE))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert reads.asked == [1]
        second = asyncio.create_task(lookup.find(user, EVERYONE))
        await together(first, second)
        await lookup.find(user, EVERYONE)
    assert reads.asked == [1, 1, 1]


async def test_one_query_distinguishes_found_gone_and_unknown(database_url: str, rows: Rows) -> None:
    there, gone, unknown = rows.user(), rows.user(deleted_at=START), "0197c1c2-7d8e-7000-8000-ffffffffffff"
    rows.reach(8)
    async with Watched(database_url) as reads:
        lookup = lookup_on(reads)
        found = await together(*(lookup.find(id_, EVERYONE) for id_ in (there, gone, unknown)))
    assert [(one.position, one.gone, one.body is None) for one in found] == [
        (8, False, False),
        (8, True, False),
        (8, False, True),
    ]


async def test_the_tag_stands_for_the_members_too_and_is_the_same_in_every_process(
    database_url: str, rows: Rows
) -> None:
    """A later release that shows a member more shows other bytes of the same version."""
    user = rows.user(version=2)
    longer = func.concat(user_view(users), literal_column("'more'"))
    async with Reads(database_url) as reads, Reads(database_url) as others:
        tags = [
            (await it.find(user, EVERYONE)).tag
            for it in (lookup_on(reads), lookup_on(others), lookup_on(reads, longer))
        ]
    assert tags[0] == tags[1] != tags[2]
    assert all(tag.startswith("2.") for tag in tags)


async def test_a_query_has_a_bounded_number_of_ids(database_url: str, rows: Rows) -> None:
    wanted = [f"0197c1c2-7d8e-7000-8000-{number:012x}" for number in range(ITEMS_MAX * 2)]
    async with Watched(database_url) as reads:
        await together(*(lookup_on(reads).find(id_, EVERYONE) for id_ in wanted[:3]))
        lookup = lookup_on(reads)
        await together(*(lookup.find(id_, EVERYONE) for id_ in wanted))
    assert max(reads.asked) == ITEMS_MAX


async def test_a_failure_reaches_all_callers_and_the_next_lookup_works(database_url: str, rows: Rows) -> None:
    user = rows.user()
    with psycopg.connect(database_url, autocommit=True) as connection:
        async with Watched(database_url) as reads:
            lookup = lookup_on(reads)
            connection.execute("ALTER TABLE shop.users RENAME TO hidden")
            found = await together(*(lookup.find(user, EVERYONE) for _ in range(3)), return_exceptions=True)
            assert all(isinstance(one, Problem) for one in found)
            connection.execute("ALTER TABLE shop.hidden RENAME TO users")
            assert version_of(await lookup.find(user, EVERYONE)) == 1


async def test_a_caller_that_hangs_up_does_not_cancel_the_answer_of_others(database_url: str, rows: Rows) -> None:
    user = rows.user()
    async with Reads(database_url) as reads:
        lookup = lookup_on(reads)
        first, second = (asyncio.create_task(lookup.find(user, EVERYONE)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert version_of(await second) == 1


async def test_a_database_that_is_away_is_a_problem_not_a_failure() -> None:
    async with Reads("postgresql://nobody@127.0.0.1:1/none", seconds_max=0.5) as reads:
        with pytest.raises(Problem) as raised:
            await lookup_on(reads).find("0197c1c2-7d8e-7000-8000-ffffffffffff", EVERYONE)
    assert raised.value.code == "unavailable"
