from collections.abc import Iterator

import pytest

from tests.served import Shop, served


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    """The API, with no Redis, on a database that the tests of a module share."""
    with served(module_database_url) as shop:
        yield shop
