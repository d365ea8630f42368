"""Every page in a real browser: light and dark, wide and narrow, without a fault and without an obstacle."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from service.settings import Settings
from tests.builders import Writing
from tests.console.browsing import NARROW, WIDE, tab
from tests.projecting import sweep
from tests.served import NO_REDIS, Shop, served_with

PAGES = ["/", "/events", "/events?type=OrderPlaced&from=2026-01-01", "/events?from=nonsense", "/nowhere"]


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    settings = Settings(database_url=module_database_url, redis_url=NO_REDIS, allow_unsafe_database=True, console=True)
    with Writing(module_database_url) as log:
        log.history()
    sweep(module_database_url)
    with served_with(settings) as shop:
        yield shop


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_no_fault_and_no_obstacle(shop: Shop, browser: Browser, path: str) -> None:
    with tab(browser, str(shop.http.base_url)) as it:
        it.open(path)
        for viewport in (WIDE, NARROW):
            it.page.set_viewport_size(viewport)  # type: ignore[arg-type]
            assert it.overflow() <= 0, viewport
            for scheme in ("light", "dark"):
                it.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                assert it.obstacles() == [], (viewport, scheme)
        refused = "the server responded with a status of 4"  # Chromium reports the status of the page itself
        assert [fault for fault in it.faults() if refused not in fault] == []
