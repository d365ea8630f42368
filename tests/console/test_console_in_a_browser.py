"""Every page in a real browser: light and dark, wide and narrow, without a fault and without an obstacle."""

from collections.abc import Iterator

import psycopg
import pytest
from playwright.sync_api import Browser

from eventlog.ids import new_id
from tests.console.browsing import NARROW, WIDE, Tab, tab
from tests.console.shop import Made, hostile_shop, paths

# The rules that the colours or the width can break. The others see the same each time.
OF_COLOURS = ("color-contrast", "link-in-text-block")
OF_WIDTH = ("scrollable-region-focusable", "target-size")


@pytest.fixture(scope="module")
def made(module_database_url: str) -> Iterator[Made]:
    with hostile_shop(module_database_url) as made:
        yield made


def base_of(made: Made) -> str:
    return str(made.shop.http.base_url).rstrip("/")


def faults(it: Tab) -> list[str]:
    # Chromium reports the status of the page itself.
    return [fault for fault in it.faults() if "the server responded with a status of 4" not in fault]


def test_no_page_has_a_fault_or_an_obstacle(made: Made, browser: Browser) -> None:
    with tab(browser, base_of(made)) as it:
        for path in paths(made):
            it.page.emulate_media(color_scheme="light")
            it.page.set_viewport_size(WIDE)
            it.open(path)
            assert it.overflow() <= 0, path
            assert it.obstacles() == [], path
            it.page.emulate_media(color_scheme="dark")
            assert it.obstacles(*OF_COLOURS) == [], path
            # No colour depends on the width: what overlaps something here would show in light too.
            it.page.set_viewport_size(NARROW)
            assert it.overflow() <= 0, path
            assert it.obstacles(*OF_COLOURS, *OF_WIDTH) == [], path
            assert faults(it) == [], path
            assert it.page.evaluate("window.pwned") is None, path


def test_an_order_is_found_and_looked_back_at_by_keyboard_alone(made: Made, browser: Browser) -> None:
    with tab(browser, base_of(made)) as it:
        it.open("/")
        it.page.keyboard.press("/")
        it.page.keyboard.type(made.order)
        it.page.keyboard.press("Enter")
        it.page.wait_for_url("**/orders/*")
        it.page.keyboard.press("[")
        it.page.wait_for_url("**version=1")
        assert "Version 1 of 2" in it.page.inner_text("main")
        it.page.keyboard.press("]")
        it.page.wait_for_url("**version=2")
        it.page.keyboard.press("g")
        it.page.keyboard.press("e")
        it.page.wait_for_url("**/events")
        it.page.keyboard.press("j")
        it.page.keyboard.press("Enter")
        it.page.wait_for_url("**/events/*")
        assert faults(it) == []


def test_the_slider_shows_the_version_that_it_is_moved_to(made: Made, browser: Browser) -> None:
    with tab(browser, base_of(made)) as it:
        it.open(f"/orders/{made.order}")
        it.page.get_by_role("slider").focus()
        it.page.keyboard.press("ArrowLeft")
        it.page.wait_for_url("**version=1")
        assert faults(it) == []


def test_the_list_of_events_shows_a_new_event_by_itself_until_it_is_paused(made: Made, browser: Browser) -> None:
    with tab(browser, base_of(made)) as it:
        it.open("/events")
        added = made.shop.product(name="A kettle that is new")
        it.page.get_by_text(added["id"]).first.wait_for(timeout=10_000)
        it.page.get_by_role("button", name="Refreshing").click()
        later = made.shop.product(name="A later kettle")
        it.page.wait_for_timeout(3_000)
        assert it.page.get_by_text(later["id"]).count() == 0
        assert faults(it) == []


def test_a_list_that_a_reader_has_opened_stays_open_when_the_page_refreshes(made: Made, browser: Browser) -> None:
    with tab(browser, base_of(made)) as it:
        it.open("/imports")
        it.page.locator("summary").first.click()
        with psycopg.connect(made.shop.database_url) as connection:
            connection.execute(
                "INSERT INTO operations.imports (id, path, finished_at, bytes_total, refused, first_rejects) "
                "SELECT %s, 'newer/', now(), 9, refused, first_rejects FROM operations.imports",
                (new_id(),),
            )
        it.page.get_by_text("newer/").wait_for(timeout=10_000)
        assert it.page.evaluate("[...document.querySelectorAll('details')].map(it => it.open)") == [False, True]
        assert it.faults() == []


def test_the_chosen_colours_stay(made: Made, browser: Browser) -> None:
    with tab(browser, base_of(made)) as it:
        it.open("/doctor")
        it.page.get_by_label("Colours").select_option("dark")
        it.page.wait_for_selector("html[data-theme=dark]")
        assert it.page.url.endswith("/doctor")
        it.open("/events")
        assert it.page.get_attribute("html", "data-theme") == "dark"
