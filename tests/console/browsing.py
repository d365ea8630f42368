"""A real browser on the console's pages, and everything that a page must not do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, ViewportSize, sync_playwright

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
WIDE: ViewportSize = {"width": 1280, "height": 900}
NARROW: ViewportSize = {"width": 375, "height": 740}
# No name is resolved: a page that needed another host would show it.
OPTIONS = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]


def chromium() -> str:
    """The path of a Chromium. Skips the test where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: install the package chromium")
        pytest.skip("no Chromium")
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser process of its own."""
    path = chromium()
    playwright: Playwright
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        try:
            yield running
        finally:
            running.close()


class Tab:
    """A page in the browser, and what it must not do: errors, violations of its policy, requests to elsewhere."""

    def __init__(self, page: Page, base_url: str) -> None:
        self.page = page
        self.base_url = base_url
        self.errors: list[str] = []
        page.on("console", lambda it: self.errors.append(it.text) if it.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note_request)
        # Chromium reports violations of the policy as console errors too; the event names the directive.
        page.add_init_script(
            "window.violations = []; document.addEventListener('securitypolicyviolation', "
            "it => window.violations.push(it.violatedDirective + ' ' + it.blockedURI + ' ' + it.sample))"
        )

    def open(self, path: str) -> None:
        """Open a page of the console, and wait until its scripts have run."""
        answer = self.page.goto(f"{self.base_url}/console{path}", wait_until="load")
        assert answer is not None
        assert answer.status < 500, f"{path}: {answer.status} {self.page.inner_text('body')[:500]}"

    def obstacles(self, *rules: str) -> list[str]:
        """What axe finds, by WCAG 2.0 to 2.2 A and AA and best practice; or by these rules alone."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE)  # not as a script element, which the page's policy refuses
        options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
        found: dict[str, Any] = self.page.evaluate("options => axe.run(document, options)", options)
        return [f"{it['id']}: {it['help']}: {node['html'][:160]}" for it in found["violations"] for node in it["nodes"]]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        wider: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return wider

    def faults(self) -> list[str]:
        """All that went wrong since the tab was opened."""
        return self.errors + list(self.page.evaluate("window.violations"))

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith(f"{self.base_url}/console/"):
            self.errors.append(f"a request to {request.url}")


@contextmanager
def tab(browser: Browser, base_url: str, viewport: Any = WIDE, scheme: Any = "light", **options: Any) -> Iterator[Tab]:
    """A tab with cookies of its own."""
    context = browser.new_context(viewport=viewport, color_scheme=scheme, **options)
    try:
        yield Tab(context.new_page(), base_url)
    finally:
        context.close()
