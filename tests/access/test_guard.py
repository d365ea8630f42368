"""What comes before the caller: the host, the rates, and what of it answers say."""

import time

import psycopg
import pytest
from fastapi import APIRouter, FastAPI, Response
from fastapi.routing import APIRoute

from contract.callers import scope
from contract.requests import StrictRoute, refuse_undeclared
from tests import loopback
from tests.access.keyed import bearing, guarded, new_key
from tests.served import open_to_all, problem, served_with


def test_a_route_that_declares_no_scope_cannot_be_made() -> None:
    router = APIRouter(route_class=StrictRoute)
    with pytest.raises(TypeError, match="does not declare"):

        @router.get("/free")
        async def free() -> Response:
            return Response("")


def test_an_application_with_a_route_without_access_check_does_not_start() -> None:
    app = FastAPI(openapi_url=None)

    async def free() -> Response:
        return Response("")

    app.router.routes.append(APIRoute("/free", free))
    with pytest.raises(TypeError, match="no StrictRoute"):
        refuse_undeclared(app)
    with pytest.raises(ValueError, match="no scope"):
        scope("orders:eat")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "[::2]", "2130706433"])
def test_a_page_reaches_no_local_service_by_a_name_of_its_own(module_database_url: str, host: str) -> None:
    settings = open_to_all(module_database_url).model_copy(update={"allowed_hosts": None})
    with served_with(settings) as shop:
        for path in ("/orders", "/healthz", "/docs", "/openapi.json"):
            answer = shop.get(path, headers={"Host": host})
            assert problem(answer) == (421, "unknown-host")
        made = shop.post("/users", json={"name": "x", "email": "x@x.example"}, headers={"Host": host})
        assert made.status_code == 421


def test_a_host_with_a_user_before_it_is_malformed(module_database_url: str) -> None:
    with served_with(open_to_all(module_database_url)) as shop:
        assert problem(shop.get("/healthz", headers={"Host": "localhost@x"})) == (400, "malformed-request")


def test_hosts_that_are_allowed_are_served(module_database_url: str) -> None:
    settings = open_to_all(module_database_url).model_copy(update={"allowed_hosts": "shop.example, api.example"})
    with served_with(settings) as shop:
        for host in ("shop.example", "API.example:8443", "localhost:1", "127.0.0.2", "[::1]:8000"):
            assert shop.get("/products", headers={"Host": host}).status_code == 200


def test_answers_carry_the_headers_that_keep_browsers_from_guessing(module_database_url: str) -> None:
    with guarded(module_database_url) as shop:
        for path in ("/orders", "/nowhere", "/docs", "/healthz", "/orders/7"):
            answer = shop.get(path)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "server" not in answer.headers
        assert shop.get("/orders").headers["cache-control"] == "private, no-store"
        assert "access-control-allow-origin" not in shop.get("/orders", headers={"Origin": "https://x.example"}).headers


def test_readiness_gives_its_reasons_to_operators_alone(module_database_url: str) -> None:
    with guarded(module_database_url) as shop:
        with psycopg.connect(module_database_url) as connection:
            connection.execute("UPDATE shop.checkpoint SET seen_at = now() - interval '1 hour'")
        told = shop.get("/readyz").json()
        assert (told["access"], bool(told["not_ready"])) == ("keys", True)
        for headers in ({}, bearing("x"), bearing(new_key(module_database_url, "staff"))):
            answer = loopback.get(f"{shop.http.base_url}/readyz", headers=headers)
            assert (answer.status_code, answer.json()["not_ready"]) == (503, {})
    with served_with(open_to_all(module_database_url)) as shop:
        assert shop.get("/readyz").json()["access"] == "open"


def test_forwarded_headers_are_ignored_without_a_proxy(module_database_url: str) -> None:
    with (
        guarded(module_database_url, failures_per_minute=5) as shop,
        loopback.Client(base_url=shop.http.base_url) as eve,
    ):
        claims = [
            {"X-Forwarded-For": f"198.51.100.{number}", "X-Real-IP": f"198.51.100.{number}",
             "Forwarded": f"for=198.51.100.{number}", "X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil"}
            for number in range(7)
        ]  # fmt: skip
        statuses = [eve.get("/orders", headers=bearing("x") | claimed).status_code for claimed in claims]
        assert statuses == [401] * 5 + [429] * 2
        assert "evil" not in shop.get("/users?limit=1", headers=claims[0]).text


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:DB8:1:2::1", "2001:db8:1:2:0:0:0:1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1:51234", "192.0.2.1:51235", True),
        ("192.0.2.1:51234", "192.0.2.2:51234", False),
        ("[2001:db8:1:2::1]:443", "[2001:db8:1:3::1]:443", False),
    ],
)
def test_the_addresses_of_one_client_count_together(
    module_database_url: str, first: str, second: str, is_one: bool
) -> None:
    with (
        guarded(module_database_url, behind_proxy=True, failures_per_minute=5) as shop,
        loopback.Client(base_url=shop.http.base_url, headers=bearing("x")) as eve,
    ):
        for _ in range(5):
            eve.get("/orders", headers={"X-Forwarded-For": first})
        assert eve.get("/orders", headers={"X-Forwarded-For": second}).status_code == (429 if is_one else 401)


def test_wrong_keys_at_readyz_count_as_failures_and_probes_without_a_key_do_not(module_database_url: str) -> None:
    with (
        guarded(module_database_url, behind_proxy=True) as shop,
        loopback.Client(base_url=shop.http.base_url) as client,
    ):
        for address, sent, then in (("198.51.100.1", {}, 401), ("198.51.100.2", bearing("x"), 429)):
            origin = {"X-Forwarded-For": address}
            for _ in range(40):
                answer = client.get("/readyz", headers=origin | sent)
                assert answer.json()["not_ready"] == {}  # a probe is always answered
            assert client.get("/orders", headers=origin | bearing("x")).status_code == then


def test_the_catalogue_and_metrics_are_open_where_the_settings_say_so(module_database_url: str) -> None:
    with guarded(module_database_url, public_catalog=True) as shop:
        base = shop.http.base_url
        assert loopback.get(f"{base}/products").status_code == 200
        assert loopback.get(f"{base}/orders").status_code == 401
        assert loopback.get(f"{base}/metrics").status_code == 200  # a client on loopback
        for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"):  # a proxy on loopback, for anybody
            assert loopback.get(f"{base}/metrics", headers={name: "198.51.100.1"}).status_code == 401
    with guarded(module_database_url, behind_proxy=True, docs="off") as shop:
        assert loopback.get(f"{shop.http.base_url}/metrics").status_code == 401
        for path in ("/docs", "/openapi.json", "/problems/not-found"):
            assert shop.get(path).status_code == 404


def test_an_account_that_sends_too_much_waits(database_url: str) -> None:
    with guarded(database_url, writes_per_minute=60, reads_per_minute=0) as shop:
        answers = [shop.post("/users", json={}) for _ in range(70)]
        assert {it.status_code for it in answers} == {422, 429}
        first, last = answers[0], answers[-1]
        assert first.headers["ratelimit-policy"] == '"writes";q=60;w=60'
        assert first.headers["ratelimit"].startswith('"writes";r=59;')
        document = last.json()
        assert (document["code"], document["retryable"]) == ("rate-limited", True)
        assert int(last.headers["retry-after"]) >= 1
        assert shop.get("/users").status_code == 200  # reads have a rate of their own
        others = bearing(new_key(database_url, "staff"))
        assert shop.post("/users", json={}, headers=others).status_code == 422
        time.sleep(int(last.headers["retry-after"]))
        assert shop.post("/users", json={}).status_code == 422


def test_an_address_that_fails_too_often_waits_and_others_do_not(database_url: str) -> None:
    with guarded(database_url, behind_proxy=True) as shop, loopback.Client(base_url=shop.http.base_url) as client:
        bad = bearing("x")
        for _ in range(30):
            # What a client claims about itself comes before what the proxy adds.
            headers = bad | {"X-Forwarded-For": "203.0.113.1, 198.51.100.7"}
            assert client.get("/orders", headers=headers).status_code == 401
        assert client.get("/orders", headers=bad | {"X-Forwarded-For": "10.0.0.1, 198.51.100.7"}).status_code == 429
        assert client.get("/orders", headers=bad | {"X-Forwarded-For": "198.51.100.8"}).status_code == 401
        good = {"X-Forwarded-For": "198.51.100.7"}
        assert shop.get("/orders", headers=good).status_code == 200  # a valid key is not refused for it
