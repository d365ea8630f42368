"""The past of a stream with an event that cannot be read: before an operator skips it, and afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TypeVar

import pytest

from eventlog.events import ProductAdded, ProductChanged, ProductRepriced, UserChanged, UserRegistered
from projector.connecting import connect
from projector.loop import Loop
from projector.parked import skip
from projector.projections.shop import SHOP
from query.database import Reads
from tests.builders import append_events, new_event
from tests.projecting import sweep
from tests.served import problem, served
from timeline.comparing import compare
from timeline.folding import Unfoldable
from timeline.reading import NOW, Timeline, Version, as_far_as_readable

T = TypeVar("T")
ID = "0197c1c2-7d8e-7000-8000-000000000001"
USER, PRODUCT = f"user-{ID}", f"product-{ID}"


@pytest.fixture
def url(database_url: str) -> str:
    """A user and a product of four events each; the third cannot be read."""
    user = [
        new_event(USER, 1, UserRegistered("Ada", "ada@example.org", "ada@example.org", None)),
        *(new_event(USER, version, UserChanged(f"Ada {version}", None)) for version in (2, 3, 4)),
    ]
    product = [
        new_event(PRODUCT, 1, ProductAdded("tea", "Tea", Decimal("2.50"), "EUR", stock_kept=False)),
        new_event(PRODUCT, 2, ProductRepriced(Decimal("3.00"))),
        new_event(PRODUCT, 3, ProductRepriced(Decimal("4.00")))._replace(data=b'{"price": 7}'),
        new_event(PRODUCT, 4, ProductChanged("Assam")),
    ]
    user[2] = user[2]._replace(type="UserTeleported")
    append_events(database_url, [*user, *product])
    sweep(database_url)
    return database_url


def leave_out(url: str, *streams: str) -> None:
    with connect(url) as connection:
        for stream in streams:
            skip(connection, Loop(SHOP), stream, "not needed", "me")


def asked(url: str, ask: Callable[[Reads], Awaitable[T]]) -> T:
    async def run() -> T:
        async with Reads(url) as reads:
            return await ask(reads)

    return asyncio.run(run())


@pytest.mark.parametrize("stream", [USER, PRODUCT])
def test_the_versions_before_an_event_that_cannot_be_read_can_be_read(url: str, stream: str) -> None:
    async def ask(reads: Reads) -> None:
        timeline = Timeline(reads)
        with pytest.raises(Unfoldable) as raised:
            await timeline.at(stream, NOW)
        assert raised.value.event.version == 3
        past, unread = await as_far_as_readable(
            lambda limit: timeline.at(stream, NOW if limit is None else Version(limit))
        )
        assert past.version == 2
        assert unread is not None
        assert unread.sentence.startswith(f"event {unread.event.position} ({unread.event.type}, version 3 of {stream})")
        assert (await compare(reads, SHOP, stream)).equal

    asked(url, ask)


def test_a_skipped_event_is_left_out_of_the_past_as_it_is_of_the_tables(url: str) -> None:
    leave_out(url, USER, PRODUCT)

    async def ask(reads: Reads) -> None:
        timeline = Timeline(reads)
        for stream in (USER, PRODUCT):
            for whole in (False, True):
                comparison = await compare(reads, SHOP, stream, whole=whole)
                assert (comparison.equal, comparison.version, comparison.parked) == (True, 4, False)
            history = await timeline.history(stream, 0, 10)
            texts = [step.text for step in history.steps]
            assert texts[2] == "Skipped: the read tables leave it out"
            assert len(texts) == 4
        assert (await timeline.at(USER, NOW)).view()["name"] == "Ada 4"
        product = (await timeline.at(PRODUCT, NOW)).view()
        assert (product["name"], product["price"]) == ("Assam", "3.00")
        assert (await timeline.at(PRODUCT, Version(3))).view()["price"] == "3.00"

    asked(url, ask)
    with served(url) as shop:
        for path in (f"/users/{ID}", f"/products/{ID}"):
            assert shop.get(path).json() == shop.get(f"{path}?version=4").json()
        # The write side still folds every event.
        answer = shop.post(f"/products/{ID}/stock", json={"delta": 1, "reason": "found"})
        assert problem(answer) == (503, "unreadable-stream")


def test_a_stream_whose_first_event_is_skipped_has_no_row_in_the_past(database_url: str) -> None:
    events = [
        new_event(USER, 1, UserRegistered("Ada", "ada@example.org", "ada@example.org", None)),
        new_event(USER, 2, UserChanged("Ada 2", None)),
    ]
    append_events(database_url, [events[0]._replace(type="UserTeleported"), events[1]])
    sweep(database_url)
    leave_out(database_url, USER)

    async def ask(reads: Reads) -> None:
        past = await Timeline(reads).at(USER, NOW)
        assert (past.exists, past.version) == (False, 2)
        assert (await compare(reads, SHOP, USER)).equal

    asked(database_url, ask)
    with served(database_url) as shop:
        answer = shop.get(f"/users/{ID}?version=2")
    assert problem(answer) == (404, "not-found")
    assert "its first event was skipped" in answer.json()["detail"]
