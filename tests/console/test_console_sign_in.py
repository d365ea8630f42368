"""Nobody looks at the console without an API key that has the scope `ops:read`."""

from collections.abc import Iterator

import httpx
import pytest

from tests.access.keyed import bearing, guarded, new_key


@pytest.fixture(scope="module")
def url(module_database_url: str) -> Iterator[str]:
    with guarded(module_database_url, console=True) as shop:
        yield str(shop.http.base_url)


@pytest.fixture
def browser(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield client


def sign_in(browser: httpx.Client, key: str) -> httpx.Response:
    return browser.post("/console/sign-in", data={"key": key})


@pytest.mark.parametrize("path", ["/", "/events", "/events/1", "/find?q=x", "/configuration", "/orders/x", "/nowhere"])
def test_a_page_asks_a_stranger_to_sign_in_and_shows_nothing(browser: httpx.Client, path: str) -> None:
    answer = browser.get(f"/console{path}")
    assert answer.status_code == 401
    assert "Sign in</h1>" in answer.text
    assert "DATABASE_URL" not in answer.text


def test_a_key_signs_in_until_the_visitor_signs_out(browser: httpx.Client, module_database_url: str) -> None:
    answer = sign_in(browser, new_key(module_database_url, "operator"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/console"))
    assert browser.get("/console/events").status_code == 200
    browser.post("/console/sign-out")
    assert browser.get("/console/events").status_code == 401


@pytest.mark.parametrize("role", ["staff", "nobody"])
def test_a_key_without_the_scope_does_not_sign_in(browser: httpx.Client, module_database_url: str, role: str) -> None:
    key = new_key(module_database_url, "staff") if role == "staff" else "ok_live_nonsense"
    answer = sign_in(browser, key)
    assert answer.status_code == (403 if role == "staff" else 401)
    assert "set-cookie" not in answer.headers
    assert key not in answer.text
    assert browser.get("/console/").status_code == 401


def test_a_key_in_the_header_is_let_in(browser: httpx.Client, module_database_url: str) -> None:
    key = new_key(module_database_url, "integration", ["ops:read"])
    assert browser.get("/console/", headers=bearing(key)).status_code == 200


def test_a_foreign_host_name_is_refused(browser: httpx.Client, module_database_url: str) -> None:
    headers = {"Host": "evil.example", **bearing(new_key(module_database_url, "operator"))}
    assert browser.get("/console/", headers=headers).status_code == 421
