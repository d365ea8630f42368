"""Each proxy serves the API under a path with the change that the page shows: every path in an answer leads there."""

import re
import uuid
from collections.abc import Iterator

import pytest

from tests.proxies.conftest import PREFIX, Service, patient
from tests.proxies.running import PROXIES, running, under_a_path
from tests.served import Shop


@pytest.fixture(scope="module", params=PROXIES)
def shop(request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A client of the whole site: the API is one of its parts."""
    name = request.param
    with (
        running(name, service.prefixed_url, tmp_path_factory.mktemp(name), under_a_path(name)) as url,
        patient(url) as client,
    ):
        yield Shop(client, service.database_url)


def test_location_leads_to_the_new_resource(shop: Shop) -> None:
    user = {"name": "Ada", "email": f"{uuid.uuid4()}@example.org"}
    made = shop.post(f"{PREFIX}/users", json=user)
    assert made.headers["location"] == f"{PREFIX}/users/{made.json()['id']}"
    seen = {"Sync-Token": made.headers["sync-token"]}
    assert shop.get(made.headers["location"], headers=seen).json() == made.json()


def test_link_and_next_lead_to_the_next_page(shop: Shop) -> None:
    for _ in range(3):
        shop.post(f"{PREFIX}/users", json={"name": "Ada", "email": f"{uuid.uuid4()}@example.org"})
    first = shop.get(f"{PREFIX}/users?limit=1", headers={"Sync-Token": str(shop.head())})
    (link,) = first.links.values()
    second = shop.get(link["url"])
    assert second.status_code == 200
    assert second.json() == shop.get(f"{PREFIX}/users", params={"limit": 1, "cursor": first.json()["next"]}).json()


@pytest.mark.parametrize("path", ["/nowhere", "/users?x=1", "/users/1"])
def test_the_type_of_a_problem_leads_to_its_meaning(shop: Shop, path: str) -> None:
    kind = shop.get(PREFIX + path).json()["type"]
    assert kind.startswith(f"{PREFIX}/problems/")
    assert shop.get(kind).json()["type"] == kind


def test_the_reference_finds_its_files_and_the_document_its_server(shop: Shop) -> None:
    page = shop.get(f"{PREFIX}/docs")
    for link in re.findall(r'(?:src|href)="(static/[^"]+)"', page.text):
        assert shop.get(str(page.url.join(link))).status_code == 200
    assert shop.get(f"{PREFIX}/openapi.json").json()["servers"] == [{"url": PREFIX}]
    front = shop.get(f"{PREFIX}/")
    for name in ("docs", "openapi", "health"):
        assert shop.get(str(front.url.join(front.json()[name]))).status_code == 200


def test_nothing_of_the_api_is_served_outside_its_path(shop: Shop) -> None:
    for path in ("/users", "/healthz", "/shopusers", "/other/users"):
        answer = shop.get(path)
        assert (answer.status_code, answer.headers.get("content-type")) != (200, "application/json")
        assert answer.headers.get("content-type") != "application/problem+json"
