"""A served console, and one browser for all tests of a process."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.console import browsing


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with browsing.browser() as running:
        yield running
