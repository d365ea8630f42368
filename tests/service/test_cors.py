"""A page of another origin calls the API if the settings name its origin, and cannot otherwise."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import Settings
from tests.served import NO_REDIS, Shop, problem, served, served_with
from tests.service.browser import browsed

SHOP = "https://shop.example"
PREFLIGHT = {
    "Origin": SHOP,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,idempotency-key,authorization,if-match,sync-token",
}
EXPOSED = {
    "ETag",
    "Location",
    "Link",
    "Sync-Token",
    "WWW-Authenticate",
    "Retry-After",
    "Idempotency-Replayed",
    "X-Request-Id",
} | {
    "Projection-State",
    "RateLimit",
    "RateLimit-Policy",
    "Command-Id",
    "Content-Location",
}

PAGE = """<html><body><script>
const say = (text) => { document.body.append(text + ";"); };
(async () => {
  try {
    const headers = {"Content-Type": "application/json", "Idempotency-Key": "k", "X-Request-Id": "page-1"};
    const body = JSON.stringify({name: "Ada", email: "ada@page.example"});
    const made = await fetch("API/users", {method: "POST", headers, body});
    say("status " + made.status);
    for (const name of ["Location", "ETag", "Sync-Token", "X-Request-Id"]) say(name + " " + made.headers.get(name));
    const refused = await fetch("API/users?limit=0");
    say("refused " + (await refused.json()).code);
  } catch (error) { say("failed " + error); }
  await fetch("API/orders/ORDER/cancel", {method: "POST", mode: "no-cors"});
  say("sent");
})();
</script></body></html>"""


def allowing(origins: str, database_url: str) -> Settings:
    return Settings(
        database_url=database_url, redis_url=NO_REDIS, allow_unsafe_database=True, no_auth=True, cors_origins=origins
    )


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with served_with(allowing(f"http://localhost:3000,{SHOP}", module_database_url)) as shop:
        yield shop


def test_without_the_setting_no_other_origin_is_allowed(module_database_url: str) -> None:
    with served(module_database_url) as shop:
        assert shop.http.options("/orders", headers=PREFLIGHT).status_code == 405
        assert "access-control-allow-origin" not in shop.get("/orders", headers={"Origin": SHOP}).headers


def test_a_preflight_of_a_named_origin_is_answered(shop: Shop) -> None:
    for method in ("POST", "PUT", "DELETE", "GET"):
        answer = shop.http.options("/orders", headers=PREFLIGHT | {"Access-Control-Request-Method": method})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert method in answer.headers["access-control-allow-methods"]
        assert "idempotency-key" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers


def test_another_origin_is_not_allowed(shop: Shop) -> None:
    other = {"Origin": "https://evil.example"}
    assert shop.http.options("/orders", headers=PREFLIGHT | other).status_code == 400
    for path in ("/orders", "/nowhere"):
        assert "access-control-allow-origin" not in shop.get(path, headers=other).headers


@pytest.mark.parametrize(("path", "status"), [("/orders", 200), ("/orders?limit=0", 400), ("/nowhere", 404)])
def test_answers_and_problems_can_be_read_with_their_headers(shop: Shop, path: str, status: int) -> None:
    answer = shop.get(path, headers={"Origin": SHOP})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, SHOP)
    assert set(answer.headers["access-control-expose-headers"].split(", ")) == EXPOSED
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:9", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": SHOP, "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Origin": "{own}", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "{own}"}, 200),
        ({}, 200),
    ],
)
def test_without_keys_a_page_of_another_origin_sends_no_command(shop: Shop, sent: dict[str, str], status: int) -> None:
    """A browser sends a POST without a body to any origin, without a preflight request."""
    order = f"/orders/{shop.order()['id']}"
    own = str(shop.http.base_url).rstrip("/")
    answer = shop.post(f"{order}/cancel", headers={name: value.format(own=own) for name, value in sent.items()})
    assert answer.status_code == status
    assert len(shop.events(order)) == (1 if status == 403 else 2)
    if status == 403:
        assert problem(answer) == (403, "cross-origin")


def test_a_page_of_another_origin_sends_a_command_and_reads_the_answer(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{pages.server_port}"
        with served_with(allowing(origin, database_url)) as shop, served(database_url) as closed:
            orders = [shop.order()["id"] for _ in range(2)]
            for name, api, order in (("open.html", shop, orders[0]), ("closed.html", closed, orders[1])):
                page = PAGE.replace("API", str(api.http.base_url).rstrip("/")).replace("ORDER", order)
                (folder / name).write_text(page)
            shown = browsed(f"{origin}/open.html", tmp_path / "open").stdout
            refused = browsed(f"{origin}/closed.html", tmp_path / "closed").stdout
            events = [[kind for kind, _ in shop.events(f"/orders/{order}")] for order in orders]
        pages.shutdown()
    assert "status 201;Location /users/" in shown
    assert "X-Request-Id page-1;refused invalid-parameter;sent;" in shown
    assert 'ETag "1";Sync-Token ' in shown
    assert "failed TypeError" in refused
    assert "sent;" in refused
    assert events == [["OrderPlaced", "OrderCancelled"], ["OrderPlaced"]]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass
