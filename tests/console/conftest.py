"""A browser for the tests of a module."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.console import browsing


# Playwright keeps an event loop running in this thread: tests of other modules could not run their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing.browser() as running:
        yield running
