"""The console demands an API key with the scope `ops:read`."""

import itertools
from collections.abc import Iterator

import httpx
import pytest

from tests import loopback
from tests.access.keyed import bearing, guarded, new_key

_ADDRESSES = itertools.count(1)


@pytest.fixture(scope="module")
def url(module_database_url: str) -> Iterator[str]:
    with guarded(module_database_url, console=True) as shop:
        yield str(shop.http.base_url)


@pytest.fixture
def browser(url: str) -> Iterator[httpx.Client]:
    with loopback.Client(base_url=url) as client:
        yield client


@pytest.fixture(scope="module")
def proxied_url(module_database_url: str) -> Iterator[str]:
    with guarded(module_database_url, console=True, behind_proxy=True, allowed_hosts="127.0.0.1") as shop:
        yield str(shop.http.base_url)


@pytest.fixture
def stranger(proxied_url: str) -> Iterator[httpx.Client]:
    """A client with an address of its own, so that failures of other tests do not count."""
    address = {"X-Forwarded-For": f"192.0.2.{next(_ADDRESSES) % 200}"}
    with loopback.Client(base_url=proxied_url, headers=address) as client:
        yield client


def sign_in(browser: httpx.Client, key: str) -> httpx.Response:
    return browser.post("/console/sign-in", data={"key": key})


@pytest.mark.parametrize("path", ["/", "/events", "/events/1", "/find?q=x", "/configuration", "/orders/x", "/nowhere"])
def test_a_page_asks_a_stranger_to_sign_in_and_shows_nothing(stranger: httpx.Client, path: str) -> None:
    answer = stranger.get(f"/console{path}")
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


@pytest.mark.parametrize("path", ["/events", "/events/1", "/find?q=1", "/orders/01890a5d-ac96-774b-bcce-b302099a8057"])
def test_pages_of_the_log_need_the_scope_events_read(
    browser: httpx.Client, module_database_url: str, path: str
) -> None:
    looks = new_key(module_database_url, "integration", ["ops:read"])
    reads = new_key(module_database_url, "integration", ["ops:read", "events:read"])
    refused = browser.get(f"/console{path}", headers=bearing(looks))
    assert refused.status_code == 403
    assert "events:read" in refused.text
    assert browser.get(f"/console{path}", headers=bearing(reads)).status_code in {200, 303, 404}


def test_spaces_around_a_pasted_key_do_no_harm(browser: httpx.Client, module_database_url: str) -> None:
    assert sign_in(browser, f"  {new_key(module_database_url, 'operator')}\n").status_code == 303
    assert browser.get("/console/events").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/theme"])
def test_a_form_of_another_site_is_refused(
    browser: httpx.Client, module_database_url: str, path: str, headers: dict[str, str]
) -> None:
    data = {"key": new_key(module_database_url, "operator"), "theme": "dark"}
    answer = browser.post(f"/console{path}", data=data, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_consoles_own_form_is_taken(browser: httpx.Client, url: str, module_database_url: str) -> None:
    data = {"key": new_key(module_database_url, "operator")}
    for headers in ({"Origin": url.rstrip("/")}, {"Sec-Fetch-Site": "same-origin"}):
        assert browser.post("/console/sign-in", data=data, headers=headers).status_code == 303


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"key=" + b"k" * 70_000, 413),
        (b"key=\xff\xfe", 400),
        (b"a=1&" * 2_000, 400),
        (b"", 401),
        (b"key=%00%0D%0ASet-Cookie:x", 401),
        ("key=\u043a\u043b\u044e\u0447".encode(), 401),
    ],
)
def test_a_hostile_form_is_answered_with_a_page(stranger: httpx.Client, body: bytes, status: int) -> None:
    answer = stranger.post("/console/sign-in", content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("cookie", [b"\xff\xfe", b"%00%0A", b'"', b"%F0%9F%98%80", b""])
def test_a_hostile_cookie_does_not_sign_in(stranger: httpx.Client, cookie: bytes) -> None:
    assert stranger.get("/console/", headers={"Cookie": b"orders_key=" + cookie}).status_code == 401


@pytest.mark.parametrize("path", ["/static/", "/static/x", "/static/../events", "/sign-out", "//events", "/sign-in"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_spelling_of_a_path_leads_past_the_gate(stranger: httpx.Client, method: str, path: str) -> None:
    assert stranger.request(method, f"/console{path}").status_code == 401


def test_the_page_for_strangers_has_no_menu_and_that_of_a_visitor_a_way_out(
    browser: httpx.Client, module_database_url: str
) -> None:
    stranger = browser.get("/console/").text
    assert not any(it in stranger for it in ("<nav", 'role="search"', "Sign out"))
    key = new_key(module_database_url, "operator")
    assert "Sign out" not in browser.get("/console/", headers=bearing(key)).text
    sign_in(browser, key)
    visitor = browser.get("/console/").text
    assert all(it in visitor for it in ("<nav", 'role="search"', "Sign out"))


def test_a_part_that_refreshes_itself_has_the_stranger_load_the_whole_page(stranger: httpx.Client) -> None:
    answer = stranger.get("/console/events", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-refresh"]) == (401, "true")


def test_an_address_that_fails_too_often_waits_but_a_good_key_signs_in(database_url: str) -> None:
    with guarded(database_url, console=True) as shop, loopback.Client(base_url=str(shop.http.base_url)) as stranger:
        answers = [sign_in(stranger, f"ok_live_{number}") for number in range(40)]
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) > 0
        assert sign_in(stranger, new_key(database_url, "operator")).status_code == 303


def test_behind_a_proxy_each_client_has_failures_of_its_own(stranger: httpx.Client) -> None:
    def fail(address: str) -> int:
        headers = {"X-Forwarded-For": f"10.9.9.9, {address}"}
        return stranger.post("/console/sign-in", data={"key": "ok_live_x"}, headers=headers).status_code

    assert [fail("198.51.100.1") for _ in range(40)][-1] == 429
    assert fail("198.51.100.2") == 401


def test_under_a_prefix_every_redirect_and_cookie_has_it_once(database_url: str) -> None:
    with guarded(database_url, console=True, root_path="/shop") as shop:
        answer = shop.http.post("/console/sign-in", data={"key": new_key(database_url, "operator")})
        assert answer.headers["location"] == "/shop/console/"
        assert "Path=/shop/console;" in answer.headers["set-cookie"]
        assert shop.http.get("/console/find?q=1").headers["location"] == "/shop/console/events/1"
        answer = shop.http.post("/console/theme", data={"theme": "dark", "back": "/shop/console/events?type=x"})
        assert answer.headers["location"] == "/shop/console/events?type=x"


def test_a_foreign_host_name_is_refused(browser: httpx.Client, module_database_url: str) -> None:
    headers = {"Host": "evil.example", **bearing(new_key(module_database_url, "operator"))}
    assert browser.get("/console/", headers=headers).status_code == 421
