"""The real service with keys behind each proxy, served under a path and a name of its own: who calls stays known."""

import itertools
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from tests import loopback
from tests.access.keyed import bearing, new_key
from tests.builders import wait_until
from tests.projecting import projected
from tests.proxies.conftest import PREFIX
from tests.proxies.running import PROXIES, running, under_a_path
from tests.served import NO_REDIS
from tests.system.stack import START_SECONDS_MAX, ServiceProcess, answers, free_port

SITE = "shop.example"
WRITES_PER_MINUTE = 60
FAILURES_PER_MINUTE = 10
_addresses = itertools.count(2)


class Site(NamedTuple):
    """A proxy's URL, and the keys of an operator and of a customer of the service behind it."""

    url: str
    operator: str
    customer: str
    user_id: str
    database_url: str

    def client(self, key: str | None = None, address: str = "127.0.0.1", host: str = SITE) -> httpx.Client:
        """A client at an address of its own. Its reads wait for their Sync-Token."""
        headers = {"Host": host, "Prefer": "wait=20"} | (bearing(key) if key else {})
        transport = httpx.HTTPTransport(local_address=address, verify=loopback.NO_TLS)
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, transport=transport)


class Api(NamedTuple):
    url: str
    database_url: str
    operator: str
    customer: str
    user_id: str


@pytest.fixture(scope="module")
def api(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    operator = new_key(module_database_url, "operator")
    environment = {
        "DATABASE_URL": module_database_url,
        "REDIS_URL": NO_REDIS,
        "ALLOW_UNSAFE_DATABASE": "1",
        "NO_AUTH": "",
        "BEHIND_PROXY": "1",
        "ALLOWED_HOSTS": SITE,
        "ROOT_PATH": PREFIX,
        "CONSOLE": "1",
        "WRITES_PER_MINUTE": str(WRITES_PER_MINUTE),
        "FAILURES_PER_MINUTE": str(FAILURES_PER_MINUTE),
    }
    port = free_port()
    process = ServiceProcess("api", ["serve", "--port", str(port)], environment, tmp_path_factory.mktemp("api"))
    url = f"http://127.0.0.1:{port}"
    with projected(module_database_url):
        process.start()
        try:
            wait_until(lambda: answers(f"{url}/healthz"), START_SECONDS_MAX, "an API that answers")
            user = {"name": "Ada", "email": f"{uuid.uuid4()}@example.org"}
            made = loopback.post(f"{url}/users", json=user, headers=bearing(operator)).raise_for_status().json()
            customer = new_key(module_database_url, "customer", user_id=made["id"])
            yield Api(url, module_database_url, operator, customer, made["id"])
        finally:
            process.stop()


@pytest.fixture(scope="module", params=PROXIES)
def site(request: pytest.FixtureRequest, api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    name = request.param
    with running(name, api.url, tmp_path_factory.mktemp(name), under_a_path(name), site=SITE) as url:
        # HAProxy serves nothing before its first check of the API's health.
        site = Site(url, api.operator, api.customer, api.user_id, api.database_url)
        with site.client() as client:
            wait_until(lambda: client.get(f"{PREFIX}/healthz").status_code == 200, 20, "a proxy that finds the API")
        yield site


def another_address() -> str:
    """An address of this machine from which no test has sent a request yet."""
    return f"127.0.1.{next(_addresses)}"


def test_each_answer_leads_back_through_the_proxy(site: Site) -> None:
    with site.client(site.operator, another_address()) as client:
        made = client.post(f"{PREFIX}/users", json={"name": "Ada", "email": f"{uuid.uuid4()}@example.org"})
        assert (made.status_code, made.headers["location"]) == (201, f"{PREFIX}/users/{made.json()['id']}")
        seen = {"Sync-Token": made.headers["sync-token"]}
        assert client.get(made.headers["location"], headers=seen).json() == made.json()
        first = client.get(f"{PREFIX}/users?limit=1", headers=seen)
        (link,) = first.links.values()
        assert link["url"].startswith(f"{PREFIX}/users?")
        assert httpx.URL(link["url"]).params["cursor"] == first.json()["next"]
        assert client.get(link["url"]).status_code == 200
        acts = client.get(f"{PREFIX}/audit?limit=1")
        assert client.get(acts.links["next"]["url"]).status_code == 200


def test_a_caller_is_known_by_the_key_alone(site: Site) -> None:
    with site.client(address=another_address()) as client:
        refused = client.get(f"{PREFIX}/orders")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get(f"{PREFIX}/orders", headers=bearing(site.customer)).json()["data"] == []
        denied = client.get(f"{PREFIX}/events", headers=bearing(site.customer))
        assert (denied.status_code, denied.json()["code"]) == (403, "missing-scope")


def test_nothing_is_open_because_the_proxy_is_on_the_same_machine(site: Site) -> None:
    with site.client(address=another_address()) as client:
        assert client.get(f"{PREFIX}/metrics").status_code == 401
        assert client.get(f"{PREFIX}/healthz").status_code == 200
        assert client.get(f"{PREFIX}/readyz").json()["not_ready"] == {}
        assert client.get(f"{PREFIX}/console/").status_code == 401


def test_another_host_gets_nothing(site: Site) -> None:
    for host in ("evil.example", "orders", "api"):
        with site.client(site.operator, another_address(), host) as client:
            answer = client.get(f"{PREFIX}/products")
            # Caddy itself answers an empty 200 for a name that it does not serve.
            assert answer.status_code == 421 or answer.content == b"", answer.text


def test_failures_count_for_the_client_whatever_address_it_claims(site: Site) -> None:
    with site.client("ok_live_wrong", another_address()) as client:
        answers = [
            client.get(f"{PREFIX}/orders", headers={"X-Forwarded-For": f"198.51.100.{number}", "Forwarded": "for=::1"})
            for number in range(FAILURES_PER_MINUTE + 2)
        ]
    assert {it.status_code for it in answers[:FAILURES_PER_MINUTE]} == {401}
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    with site.client("ok_live_wrong", another_address()) as other:
        assert other.get(f"{PREFIX}/orders").status_code == 401


def test_failures_count_for_the_client_when_another_proxy_ends_tls_for_varnish(
    api: Api, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        running("varnish", api.url, tmp_path_factory.mktemp("varnish")) as cache,
        running("nginx", cache, tmp_path_factory.mktemp("nginx"), under_a_path("nginx")) as url,
    ):
        site = Site(url, api.operator, api.customer, api.user_id, api.database_url)
        with site.client("ok_live_wrong", another_address()) as client:
            wait_until(lambda: client.get(f"{PREFIX}/healthz").status_code == 200, 20, "Varnish finds the API")
            statuses = [client.get(f"{PREFIX}/orders").status_code for _ in range(FAILURES_PER_MINUTE + 2)]
        assert statuses[-1] == 429
        with site.client("ok_live_wrong", another_address()) as other:
            assert other.get(f"{PREFIX}/orders").status_code == 401


def test_the_limits_of_an_account_pass_through(site: Site) -> None:
    key = new_key(site.database_url, "staff")
    with site.client(key, another_address()) as client:
        answers = [client.post(f"{PREFIX}/users", json={}) for _ in range(WRITES_PER_MINUTE + 10)]
    assert {it.status_code for it in answers} == {422, 429}
    assert answers[0].headers["ratelimit-policy"] == f'"writes";q={WRITES_PER_MINUTE};w=60'
    refused = next(it for it in answers if it.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["code"] == "rate-limited"


def test_the_console_is_signed_in_to_through_the_proxy(site: Site) -> None:
    with site.client(address=another_address()) as browser:
        own = {"Origin": f"https://{SITE}"}
        answer = browser.post(f"{PREFIX}/console/sign-in", data={"key": site.operator}, headers=own)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{PREFIX}/console/")
        cookie = answer.headers["set-cookie"].lower()
        assert all(part in cookie for part in ("secure", "httponly", "samesite=strict", f"path={PREFIX}/console;"))
        evil = {"Origin": "https://evil.example"}
        assert browser.post(f"{PREFIX}/console/sign-in", data={"key": site.operator}, headers=evil).status_code == 403
