from collections.abc import AsyncIterator, Iterator

import pytest

from tests.command.driving import Driver, driving
from tests.served import Shop, served


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    """The API, with no Redis, on a database that the tests of a module share."""
    with served(module_database_url) as shop:
        yield shop


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[Driver]:
    """A writer at work on a database of its own."""
    async with driving(database_url) as driver:
        yield driver


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Driver]:
    """Another process's writer on the same database."""
    async with driving(database_url) as driver:
        yield driver
