"""Every answer about the past equals the fold of the events up to then."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg
import pytest

from command import views
from command.domain.refusals import Refused
from command.states import KINDS, Entity, fold
from contract.times import rfc3339
from eventlog.codec import Codec
from eventlog.events import UserChanged, UserRegistered
from eventlog.read import PastEvent
from query.database import Reads
from tests.builders import Writing, append_events, new_event
from timeline.reading import NOW, AsOf, Timeline, Version

pytestmark = pytest.mark.anyio

QUESTIONS = 1_000
COMMANDS = 400


class Stored(NamedTuple):
    """An event, as the tests read it."""

    position: int
    stream: str
    recorded_at: datetime
    past: PastEvent


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def log(module_database_url: str) -> list[Stored]:
    with Writing(module_database_url) as writing:
        storm(writing, random.Random(7))  # noqa: S311 - no secret
    query = """
        SELECT position, stream, recorded_at, version, type, schema_version, occurred_at, data::text
        FROM log.events ORDER BY position"""
    with psycopg.connect(module_database_url) as connection:
        connection.execute("SET TimeZone TO 'UTC'")
        return [Stored(*row[:3], PastEvent(*row[3:])) for row in connection.execute(query.encode()).fetchall()]


@pytest.fixture
async def reads(module_database_url: str) -> AsyncIterator[Reads]:
    async with Reads(module_database_url) as reads:
        yield reads


def storm(writing: Writing, chance: random.Random) -> None:
    """Commands at random; some of them are refused."""
    writing.history(orders=20)
    users = [writing.user() for _ in range(4)]
    products = [writing.product(stock=chance.choice([None, 50, 5_000])) for _ in range(5)]
    orders: list[str] = []

    def order() -> None:
        lines = {
            product: chance.randint(1, 5)
            for product in chance.sample(products, chance.randint(1, min(4, len(products))))
        }
        orders.append(writing.order(chance.choice(users), lines))

    def cancel() -> None:
        lines = {chance.randint(1, 3): chance.randint(1, 2)} if chance.random() < 0.8 else None
        writing.cancel(chance.choice(orders), lines, chance.choice([None, "too late"]))

    def change_product() -> None:
        price = Decimal(chance.randint(0, 400)) / 8
        writing.change_product(chance.choice(products), f"Name {chance.randint(1, 3)}", price)

    def change_user() -> None:
        user, number = chance.choice(users), chance.randint(1, 3)
        writing.change_user(user, f"Name {number}", f"{user}-{chance.randint(1, 2)}@example.org")

    acts = [order, order, order, cancel, cancel, change_product, change_user]
    acts += [lambda: writing.adjust_stock(chance.choice(products), chance.choice([-3, 2, 9])) and None]
    order()
    for number in range(COMMANDS):
        try:
            chance.choice(acts)()
            if number % 100 == 99:
                writing.discontinue(products.pop())
                writing.delete_user(users.pop())
        except Refused:
            continue


def folded(log: list[Stored], stream: str, number: int) -> dict[str, Any]:
    """The first `number` events of the stream, folded by the write side, as the resource that it answers."""
    events = [stored.past for stored in log if stored.stream == stream][:number]
    entity = fold(Codec(), stream, Entity(0, None), events)
    shown: dict[str, Any] = json.loads(views.document(stream.partition("-")[0], entity))
    return shown


async def test_a_thousand_versions_and_times_equal_the_fold_of_the_prefix(log: list[Stored], reads: Reads) -> None:
    timeline, chance = Timeline(reads), random.Random(11)  # noqa: S311 - no secret
    streams = sorted({stored.stream for stored in log})
    first, last = log[0].recorded_at, log[-1].recorded_at
    differences, kinds = [], set()
    for number in range(QUESTIONS):
        # Half of the questions go to the streams with many events.
        stream = chance.choice(streams) if number % 2 else chance.choice(log).stream
        own = [stored for stored in log if stored.stream == stream]
        if chance.random() < 0.4:
            expected = chance.randint(1, len(own))
            past = await timeline.at(stream, Version(expected))
        else:
            time = chance.choice(
                [
                    first + (last - first) * chance.random(),
                    chance.choice(log).recorded_at,
                    chance.choice(own).recorded_at + timedelta(microseconds=chance.choice([-1, 0, 1])),
                ]
            )
            expected = sum(stored.recorded_at <= time for stored in own)
            past = await timeline.at(stream, AsOf(time))
        kinds.add((stream.partition("-")[0], past.exists))
        if past.version != expected or past.exists != (expected > 0):
            differences.append((stream, expected, past.version))
        elif past.exists and past.view() != folded(log, stream, expected):
            differences.append((stream, expected, "view"))
    assert differences == []
    assert len(kinds) == 6, "all kinds of streams were asked for, before and after their first event"


async def test_a_product_has_the_same_fields_from_its_few_decisive_events_as_from_all(
    log: list[Stored], reads: Reads
) -> None:
    timeline = Timeline(reads)
    for stream in {stored.stream for stored in log if stored.stream.startswith("product-")}:
        for number in range(1, 1 + sum(stored.stream == stream for stored in log), 7):
            few, all_ = [await timeline.at(stream, Version(number), whole=whole) for whole in (False, True)]
            assert few.fields() == all_.fields()
            assert few.view() == all_.view()


async def test_the_events_that_are_named_give_the_resource_and_no_others_are_needed(
    log: list[Stored], reads: Reads
) -> None:
    timeline, chance = Timeline(reads), random.Random(13)  # noqa: S311 - no secret
    for stream in chance.sample(sorted({stored.stream for stored in log}), 25):
        own = [stored.past for stored in log if stored.stream == stream]
        past = await timeline.at(stream, NOW)
        named = {field.event.version for field in past.fields()}
        name, _, id_ = stream.partition("-")
        state = None
        for event in own:
            if event.version in named:
                decoded = Codec().decode(event.type, event.schema_version, event.data)
                state = KINDS[name].evolve(id_, state, decoded, rfc3339(event.occurred_at))
        shown = json.loads(views.document(name, Entity(len(own), state)))
        assert shown == past.view()


async def test_a_long_stream_is_folded_and_told_page_by_page(database_url: str) -> None:
    stream, length = "user-0197c1c2-7d8e-7000-8000-000000000001", 350
    events = [new_event(stream, 1, UserRegistered("Name 1", "a@example.org", "a@example.org", None))]
    events += [new_event(stream, number, UserChanged(name=f"Name {number}")) for number in range(2, length + 1)]
    await asyncio.to_thread(append_events, database_url, events)
    async with Reads(database_url) as reads:
        timeline = Timeline(reads)
        for number in (1, 99, 100, 101, 200, 201, 349, 350):
            view = (await timeline.at(stream, Version(number))).view()
            assert (view["name"], view["version"]) == (f"Name {number}", number)
        assert (await timeline.at(stream, NOW)).view()["name"] == f"Name {length}"
        assert (await timeline.at(stream, Version(length + 1))).last == length
        steps = (await timeline.history(stream, 249, 1_000)).steps
        assert [step.changes for step in steps] == [
            [("name", f"Name {number - 1}", f"Name {number}")] for number in range(250, length + 1)
        ]


async def test_a_position_is_found_by_its_time(log: list[Stored], reads: Reads) -> None:
    timeline, chance = Timeline(reads), random.Random(17)  # noqa: S311 - no secret
    assert await timeline.position_at(datetime(2020, 1, 1, tzinfo=UTC)) == 0
    assert await timeline.position_at(datetime(2120, 1, 1, tzinfo=UTC)) == log[-1].position
    for _ in range(200):
        time = chance.choice(log).recorded_at + timedelta(microseconds=chance.choice([-1, 0, 1]))
        expected = max((stored.position for stored in log if stored.recorded_at <= time), default=0)
        assert await timeline.position_at(time) == expected
