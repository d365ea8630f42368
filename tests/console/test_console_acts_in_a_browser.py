"""Acts in a real browser: by keyboard alone, without JavaScript, and not from a page of another site."""

import http.server
import re
import threading
from collections.abc import Iterator

import psycopg
import pytest
from playwright.sync_api import Browser, Page

from projector.jobs.runner import Runner
from service.projections import PROJECTIONS
from tests.console.browsing import WIDE, tab
from tests.console.shop import Made, hostile_shop
from tests.served import Shop

LOAD_MS_MAX = 60_000


@pytest.fixture(scope="module")
def made(module_database_url: str) -> Iterator[Made]:
    with hostile_shop(module_database_url) as made:
        runner = Runner(module_database_url, PROJECTIONS)
        runner.start()
        yield made
        runner.stop()
        runner.close()


def base_of(made: Made) -> str:
    return str(made.shop.http.base_url).rstrip("/")


def jobs(shop: Shop) -> int:
    ((number,),) = shop.rows("SELECT count(*) FROM operations.jobs")
    return int(number)


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element with this text or label has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        text = page.evaluate("(it => it.textContent.trim() || it.id || it.name)(document.activeElement)")
        if re.search(name, str(text)):
            return
    raise AssertionError(f"nothing called {name} can be reached by Tab")


def test_a_projection_is_rebuilt_and_the_job_followed_by_keyboard_alone(made: Made, browser: Browser) -> None:
    with tab(browser, base_of(made)) as it:
        it.open("/")
        it.page.keyboard.press("g")
        it.page.keyboard.press("p")
        it.page.wait_for_url("**/projections")
        tab_to(it.page, "^Rebuild sales")
        it.page.keyboard.press("Enter")
        it.page.wait_for_url("**/replay?projection=sales")
        assert it.obstacles() == []
        tab_to(it.page, "^reason$")
        it.page.keyboard.type("the sums looked wrong")
        it.page.keyboard.press("Tab")
        it.page.keyboard.press("Enter")
        it.page.wait_for_url("**/jobs/*")
        it.page.get_by_text("sales was rebuilt from").wait_for(timeout=LOAD_MS_MAX)
        assert "the sums looked wrong" in it.page.inner_text("main")
        assert it.obstacles() == []
        assert it.faults() == []


def test_a_skip_works_without_javascript(made: Made, browser: Browser) -> None:
    with tab(browser, base_of(made), java_script_enabled=False) as it:
        page = it.page
        page.goto(f"{it.base_url}/console/parked")
        page.get_by_role("link", name=re.compile("^Skip …")).first.click()
        page.get_by_label(re.compile("^Why")).fill("it is a test's")
        page.get_by_role("button", name="Skip 1 event").click()
        assert "to skip it" in page.inner_text("main")
        assert page.get_by_label(re.compile("^Why")).input_value() == "it is a test's"
        page.get_by_label(re.compile("^Type")).fill(made.parked)
        page.get_by_role("button", name="Skip 1 event").click()
        page.wait_for_url("**/jobs/*")
        for _ in range(40):
            if "are projected again" in page.inner_text("main"):
                break
            page.wait_for_timeout(500)
            page.reload()
        assert "1 of 1 streams are projected again" in page.inner_text("main")


class _Foreign(http.server.BaseHTTPRequestHandler):
    """A page of another site that has the browser send a form to the console."""

    target = ""

    def do_GET(self) -> None:
        text = (
            f'<form method="post" action="{self.target}/console/jobs"><input name="kind" value="replay">'
            '<input name="projection" value="shop"></form><script>document.forms[0].submit()</script>'
        )
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def test_a_page_of_another_site_starts_no_job(made: Made, browser: Browser, module_database_url: str) -> None:
    before = jobs(made.shop)
    handler = type("Handler", (_Foreign,), {"target": base_of(made)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = browser.new_context(viewport=WIDE)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        page.wait_for_url("**/console/jobs")
        assert "Another site sent this form." in page.inner_text("body")
        context.close()
        server.shutdown()
    assert jobs(made.shop) == before
    with psycopg.connect(module_database_url) as connection:
        row = connection.execute("SELECT count(*) FROM log.events WHERE data->>'act' = 'replay.requested'").fetchone()
    assert row is not None
    assert row[0] <= 1  # the one of the first test
