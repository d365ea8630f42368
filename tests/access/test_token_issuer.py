"""The service and its token issuer: the issuer's keys change, and its server is away, slow or too talkative."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from access.issuer import (
    DOCUMENT_BYTES_MAX,
    FETCH_SECONDS_MAX,
    WAIT_SECONDS_MAX,
    WAITING_MAX,
    IssuerKey,
    IssuerKeys,
)
from contract.problems import Problem
from tests.access.issuing_tokens import AUDIENCE, Issuer, address, issuing, made_up, raw
from tests.access.keyed import bearing, guarded
from tests.builders import wait_until
from tests.served import problem

TRIES = 6  # of a test that a busy machine may make too slow to tell anything
ROLES = {"jwt_role_claim": "role", "jwt_role_map": "clerk=staff"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def test_a_service_whose_issuer_is_away_serves_keys_and_then_tokens_without_a_restart(module_database_url: str) -> None:
    with issuing() as issuer:
        issuer.status = 503
        settings = {"jwt_issuer": issuer.url, "jwt_audience": AUDIENCE, "failures_per_minute": 0} | ROLES
        with guarded(module_database_url, **settings) as shop:
            token = bearing(issuer.token(role="clerk"))
            away = shop.get("/products", headers=token)
            assert problem(away) == (503, "auth-unavailable")
            assert shop.get("/products").status_code == 200  # with an API key
            said = shop.get("/readyz").json()["degraded"]["tokens"]
            assert said.startswith(
                "the keys of the token issuer cannot be fetched (ValueError: it answered 503): check"
            )
            issuer.status = 200
            # One fetch in 30 seconds for all callers together.
            wait_until(lambda: shop.get("/products", headers=token).status_code == 200, 45, "the issuer's keys")
            assert "tokens" not in shop.get("/readyz").json()["degraded"]


def test_a_slow_issuer_delays_no_keys_and_no_known_tokens(module_database_url: str) -> None:
    with issuing() as issuer:
        settings = {"jwt_issuer": issuer.url, "jwt_audience": AUDIENCE, "failures_per_minute": 0} | ROLES
        with guarded(module_database_url, **settings) as shop, ThreadPoolExecutor() as pool:
            token = bearing(issuer.token(role="clerk"))
            wait_until(lambda: shop.get("/products", headers=token).status_code == 200, 10, "the issuer's keys")
            asked = len(issuer.asked)
            issuer.delay_seconds = 4 * FETCH_SECONDS_MAX
            issuer.kids["rsa-2"] = issuer.rsa
            unknown = bearing(issuer.token(kid="rsa-2"))
            waiting = pool.submit(httpx.get, f"{shop.http.base_url}/products", headers=unknown, timeout=30)
            wait_until(lambda: len(issuer.asked) > asked, 5, "a fetch for the new key id")
            began = time.monotonic()
            for headers in (token, {}):
                assert shop.get("/products", headers=headers).status_code == 200
            assert time.monotonic() - began < WAIT_SECONDS_MAX / 2
            for answer in (shop.get("/products", headers=unknown), waiting.result()):
                assert problem(answer) == (503, "auth-unavailable")
                assert answer.headers["retry-after"]
            assert time.monotonic() - began < WAIT_SECONDS_MAX + 1
            issuer.delay_seconds = 0.0


def test_the_first_tokens_with_a_new_key_wait_for_it_and_share_a_fetch(module_database_url: str) -> None:
    with issuing() as issuer, ThreadPoolExecutor(20) as pool:
        settings = {"jwt_issuer": issuer.url, "jwt_audience": AUDIENCE, "jwt_jwks_url": f"{issuer.url}/keys"} | ROLES
        with guarded(module_database_url, **settings) as shop:
            token = bearing(issuer.token(role="clerk"))
            wait_until(lambda: shop.get("/products", headers=token).status_code == 200, 10, "the issuer's keys")
            asked = len(issuer.asked)
            issuer.delay_seconds = 1.0
            issuer.kids = {"rsa-2": issuer.rsa}
            tokens = [bearing(issuer.token(f"clerk-{number}", "rsa-2", role="clerk")) for number in range(20)]
            answers = pool.map(lambda it: httpx.get(f"{shop.http.base_url}/products", headers=it, timeout=30), tokens)
            assert [it.status_code for it in answers] == [200] * len(tokens)
            assert len(issuer.asked) == asked + 1


def test_a_flood_of_made_up_key_ids_keeps_no_customer_from_the_new_key(module_database_url: str) -> None:
    assert any(flooded_once(module_database_url) for _ in range(TRIES)), "each flood took longer than the issuer"


def flooded_once(database_url: str) -> bool:
    with issuing() as issuer:
        settings = {"jwt_issuer": issuer.url, "jwt_audience": AUDIENCE, "jwt_jwks_url": f"{issuer.url}/keys"} | ROLES
        with guarded(database_url, behind_proxy=True, **settings) as shop:
            known = bearing(issuer.token(role="clerk"))
            wait_until(lambda: shop.get("/products", headers=known).status_code == 200, 10, "the issuer's keys")
            issuer.delay_seconds = 2.0
            issuer.kids["rsa-2"] = issuer.rsa
            return asyncio.run(flooded(issuer, shop.http.base_url))


async def flooded(issuer: Issuer, url: httpx.URL) -> bool:
    """Three strangers send more made-up key ids than may wait, and customers known and new key ids.

    Returns False when all this took so long that the issuer answered meanwhile, as on a busy machine.
    """
    fetches, began = len(issuer.asked) + 1, time.monotonic()
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=None)) as client:

        def send(token: str, by: str) -> asyncio.Task[httpx.Response]:
            headers = bearing(token) | {"X-Forwarded-For": by}
            return asyncio.create_task(client.get("/products", headers=headers))

        async def answered(token: str) -> tuple[int, str | None]:
            answer = await send(token, "203.0.113.99")
            return answer.status_code, answer.json().get("code")

        flood = [send(made_up(), f"198.51.100.{number % 3}") for number in range(WAITING_MAX + 50)]
        left: set[asyncio.Task[httpx.Response]] = set(flood)
        while len(left) > WAITING_MAX:
            _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        customers = [send(issuer.token(f"c-{it}", "rsa-2", role="clerk"), f"203.0.113.{it}") for it in range(20)]
        assert (await answered(issuer.token(role="clerk")))[0] == 200
        for header in ({"alg": "HS256", "kid": "x"}, {"alg": "RS256", "kid": "x", "jku": str(url)}, {"alg": "RS256"}):
            assert await answered(raw(header, {})) == (401, "unauthenticated")
        if time.monotonic() - began > issuer.delay_seconds:
            await asyncio.gather(*customers, *flood)
            return False
        assert not any(it.done() for it in customers)  # the fetch goes on: nobody above has waited for it
        assert [it.status_code for it in await asyncio.gather(*customers)] == [200] * len(customers)
        refused = [problem(it) for it in await asyncio.gather(*flood)]
        assert refused.count((429, "rate-limited")) == 50 + len(customers)  # without a place
        assert refused.count((401, "unauthenticated")) == WAITING_MAX - len(customers)
        assert await answered(made_up()) == (401, "unauthenticated")
        assert len(issuer.asked) == fetches
        return True


@pytest.mark.anyio
async def test_addresses_share_the_places_of_those_that_wait() -> None:
    with issuing() as issuer:
        keys = IssuerKeys(issuer.url, f"{issuer.url}/keys")
        await keys.fetch()
        issuer.delay_seconds = 0.5

        def asking(by: str, requests: int) -> list[asyncio.Task[IssuerKey]]:
            return [asyncio.create_task(keys.find(uuid4().hex, lambda: by)) for _ in range(requests)]

        async def without_a_place(tasks: list[asyncio.Task[IssuerKey]]) -> int:
            await asyncio.sleep(0.05)
            return sum("Too many" in str(it.exception()) for it in tasks if it.done())

        first = asking("192.0.2.1", WAITING_MAX + 1)
        assert await without_a_place(first) == 1  # one address may have all places while no other wants one
        second = asking("192.0.2.2", WAITING_MAX)
        assert await without_a_place(second) == WAITING_MAX / 2
        assert await without_a_place(first) == 1 + WAITING_MAX / 2
        others = [asking(f"192.0.2.{number}", 1)[0] for number in range(3, 3 + WAITING_MAX)]
        assert await without_a_place(others) == 2  # the first two addresses keep one place each
        assert await without_a_place([*first, *second]) == 1 + 2 * WAITING_MAX - 2
        ended = await asyncio.gather(*first, *second, *others, return_exceptions=True)
        assert sum("no key" in str(it) for it in ended) == WAITING_MAX
        assert issuer.asked == ["/keys"] * 2


@pytest.mark.anyio
async def test_a_fetch_that_began_before_the_rotation_is_followed_by_another() -> None:
    with issuing() as issuer:
        issuer.delay_seconds = 0.3
        keys = IssuerKeys(issuer.url, f"{issuer.url}/keys")
        early = asyncio.create_task(keys.fetch())
        await asyncio.to_thread(wait_until, lambda: bool(issuer.asked), 5, "the fetch has begun")
        issuer.kids["rsa-2"] = issuer.rsa
        assert await keys.find("rsa-2", address)
        assert issuer.asked == ["/keys"] * 2
        await early


@pytest.mark.anyio
async def test_without_the_issuers_answer_an_unknown_key_id_is_not_said_to_be_wrong() -> None:
    with issuing() as issuer:
        keys = IssuerKeys(issuer.url, f"{issuer.url}/keys")
        await keys.fetch()
        issuer.status = 500
        for _ in range(2):  # the second one causes no fetch
            with pytest.raises(Problem, match="could not be fetched"):
                await keys.find("rsa-2", address)
        assert await keys.find("rsa", address)
        assert issuer.asked == ["/keys"] * 2


@pytest.mark.anyio
async def test_a_token_that_comes_during_the_first_fetch_waits_for_it_and_causes_no_other() -> None:
    with issuing() as issuer:
        issuer.delay_seconds = 0.2
        keys = IssuerKeys(issuer.url, f"{issuer.url}/keys")
        first = asyncio.create_task(keys.fetch())
        await asyncio.sleep(0.05)
        assert await keys.find("rsa", address)
        assert issuer.asked == ["/keys"]
        issuer.kids["rsa-2"] = issuer.rsa
        assert await keys.find("rsa-2", address)
        await first


@pytest.mark.anyio
async def test_a_key_that_the_issuer_withdraws_ends_with_the_next_fetch() -> None:
    with issuing() as issuer:
        keys = IssuerKeys(issuer.url, None)
        await keys.fetch()
        assert await keys.find("rsa", address)
        del issuer.kids["rsa"]
        await keys.fetch()
        with pytest.raises(Problem, match="no key"):
            await keys.find("rsa", address)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        b'{"keys": [' + b" " * DOCUMENT_BYTES_MAX,
        b"[" * 100_000,
        b'{"keys": ' + b"[" * 100_000,
        b'{"keys": [{"kid": "rsa", "kty": "RSA", "alg": "none", "n": "AQ", "e": "AQ"}]}',
        b'{"keys": 7}',
        b'{"keys": [7, null, {}, {"kid": 7}, {"kid": "rsa", "kty": "RSA", "n": "AQ", "e": "AQ"}]}',
        b"\xff\xfe",
        b'{"issuer": "https://evil.example", "jwks_uri": "http://169.254.169.254/keys"}',
    ],
)
async def test_a_document_that_is_no_set_of_keys_changes_nothing(body: bytes) -> None:
    with issuing() as issuer:
        keys = IssuerKeys(issuer.url, f"{issuer.url}/keys")
        await keys.fetch()
        issuer.body = body
        await keys.fetch()
        assert await keys.find("rsa", address)
        discovering = IssuerKeys(issuer.url, None)
        await discovering.fetch()
        assert set(issuer.asked) == {"/keys", "/.well-known/openid-configuration"}
        with pytest.raises(Problem, match="could not be fetched"):
            await discovering.find("rsa", address)


@pytest.mark.anyio
async def test_a_key_that_cannot_be_read_costs_no_other_one() -> None:
    with issuing() as issuer:
        (usable, *_) = issuer.documents()["/keys"]["keys"]
        unreadable = [usable | {"kid": "x", "alg": "none"}, usable | {"kid": "y", "n": 7}, {"kid": "z", "kty": []}]
        issuer.body = json.dumps({"keys": [*unreadable, usable]}).encode()
        keys = IssuerKeys(issuer.url, f"{issuer.url}/keys")
        await keys.fetch()
        assert await keys.find("rsa", address)
        for kid in "xyz":
            with pytest.raises(Problem, match="no key"):
                await keys.find(kid, address)
