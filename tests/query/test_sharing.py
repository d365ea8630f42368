"""Equal reads: alone at once, shared when they arrive while one is in flight."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from query.sharing import Sharing

pytestmark = pytest.mark.anyio

Pages = Sharing[None, int]


class Reading:
    """Reads that take until `land` is called; each answers with its number."""

    def __init__(self) -> None:
        self.begun = 0
        self._landing = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self._landing.wait()
        return number

    def land(self) -> None:
        self._landing.set()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def asks(sharing: Pages, read: Callable[[], Awaitable[int]], key: str = "page") -> asyncio.Task[int]:
    async def page(_: object) -> dict[None, int]:
        return {None: await read()}

    return asyncio.create_task(sharing.read(key, None, page))


async def test_equal_reads_that_arrive_in_flight_share_the_next() -> None:
    sharing, reading = Pages(), Reading()
    first = asks(sharing, reading)
    await turns()
    assert reading.begun == 1
    later = [asks(sharing, reading) for _ in range(20)]
    await turns()
    assert reading.begun == 1
    reading.land()
    assert [await it for it in (first, *later)] == [1, *[2] * 20]


async def test_an_answer_is_never_older_than_its_question() -> None:
    sharing, reading = Pages(), Reading()
    first = asks(sharing, reading)
    await turns()
    second = asks(sharing, reading)
    reading.land()
    assert (await first, await second) == (1, 2)
    assert await asks(sharing, reading) == 3


async def test_different_reads_do_not_wait_for_each_other() -> None:
    sharing, held, free = Pages(), Reading(), Reading()
    free.land()
    waiting = asks(sharing, held, "one")
    await turns()
    assert await asks(sharing, free, "other") == 1
    held.land()
    assert await waiting == 1


async def test_a_failure_reaches_all_sharing_reads_and_the_next_read_works() -> None:
    sharing, reading = Pages(), Reading()

    async def fails() -> int:
        await reading()
        raise LookupError

    asked = [asks(sharing, fails)]
    await turns()
    asked += [asks(sharing, fails) for _ in range(3)]
    reading.land()
    assert [type(it) for it in await asyncio.gather(*asked, return_exceptions=True)] == [LookupError] * 4
    assert await asks(sharing, reading) == 2


async def test_a_read_that_hangs_up_cancels_no_other() -> None:
    sharing, reading = Pages(), Reading()
    first = asks(sharing, reading)
    await turns()
    second, third = asks(sharing, reading), asks(sharing, reading)
    await turns()
    first.cancel()
    second.cancel()
    reading.land()
    assert await third == 2
