"""/docs: the API reference works without internet, and runs no script of another origin."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.http.api_reference import FILES
from tests.served import Shop, served
from tests.service.browser import browsed

STATIC = Path(__file__).parents[2] / "service" / "http" / "static"
_OTHER_ORIGIN = re.compile(r"""(?:https?:)?//[\w.-]+\.\w+""")


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with served(module_database_url) as shop:
        yield shop


def linked(shop: Shop) -> list[str]:
    return re.findall(r'(?:src|href)="(static/[^"]+)"', shop.get("/docs").text)


def test_the_front_page_names_the_service_and_links_the_reference(shop: Shop) -> None:
    front = shop.get("/")
    assert front.status_code == 200
    assert front.json()["service"] == "orders"
    for name in ("docs", "openapi", "health"):
        assert shop.get("/" + front.json()[name]).status_code in {200, 503}


def test_the_page_and_its_files_are_ours_and_name_no_other_origin(shop: Shop) -> None:
    page = shop.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert not _OTHER_ORIGIN.search(page.text)
    assert len(linked(shop)) == len(FILES)
    for path in linked(shop):
        text = shop.get(f"/{path}").text
        if path.endswith("bundle.js"):
            continue  # it has addresses of specifications in texts; the policy below keeps it from calling any
        assert set(_OTHER_ORIGIN.findall(text)) <= {"http://www.w3.org"}, path  # the name of SVG, not an address


def test_the_reference_forbids_the_browser_to_load_from_elsewhere(shop: Shop) -> None:
    page = shop.get("/docs")
    policy = dict(part.split(maxsplit=1) for part in page.headers["content-security-policy"].split("; "))
    assert policy.pop("img-src") == "'self' data:"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert "<script>" not in page.text
    assert " style=" not in page.text


def test_caches_keep_the_files_for_ever_and_ask_again_for_the_page(shop: Shop) -> None:
    for path in linked(shop):
        file = shop.get(f"/{path}", headers={"X-Request-Id": "one-caller"})
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "x-request-id" not in file.headers
        head = shop.http.head(f"/{path}")
        assert (head.status_code, head.text) == (200, "")
    for path in ("/docs", "/openapi.json"):
        assert shop.get(path).headers["cache-control"] == "no-cache"


def test_a_file_of_another_version_is_not_found(shop: Shop) -> None:
    digest = linked(shop)[0].split("/")[1]
    assert shop.get("/static/0123456789abcdef/docs.js").status_code == 404
    assert shop.get(f"/static/{digest}/README.md").status_code == 404
    assert shop.get(f"/static/{digest}/..%2fapp.py").status_code == 404


def test_the_vendored_files_are_those_of_the_note_beside_them() -> None:
    note = (STATIC / "swagger-ui/README.md").read_text()
    noted = dict(re.findall(r"^\| `([\w.-]+)` \| `([0-9a-f]{64})` \|$", note, re.MULTILINE))
    vendored = [name.removeprefix("swagger-ui/") for name in FILES if name.startswith("swagger-ui/")]
    assert sorted(noted) == sorted(vendored)
    for name, digest in noted.items():
        assert hashlib.sha256((STATIC / "swagger-ui" / name).read_bytes()).hexdigest() == digest
    assert "Apache License" in (STATIC / "swagger-ui/LICENSE").read_text()


def test_a_browser_shows_every_operation(shop: Shop, tmp_path: Path) -> None:
    done = browsed(f"{shop.http.base_url}/docs", tmp_path)
    shown = set(re.findall(r'data-path="([^"]+)"', done.stdout))
    assert shown == set(shop.get("/openapi.json").json()["paths"])
    assert "Content Security Policy" not in done.stderr
