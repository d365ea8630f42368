"""The service and its token issuer: the issuer's keys change, and its server is away, slow or too talkative."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from access.issuer import DOCUMENT_BYTES_MAX, FETCH_SECONDS_MAX, IssuerKeys
from contract.problems import Problem
from tests.access.issuing_tokens import AUDIENCE, issuing
from tests.access.keyed import bearing, guarded
from tests.builders import wait_until
from tests.served import problem

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
            issuer.status = 200
            # One fetch in 30 seconds for all callers together.
            wait_until(lambda: shop.get("/products", headers=token).status_code == 200, 45, "the issuer's keys")


def test_a_slow_issuer_delays_no_keys_and_no_known_tokens(module_database_url: str) -> None:
    with issuing() as issuer:
        settings = {"jwt_issuer": issuer.url, "jwt_audience": AUDIENCE, "failures_per_minute": 0} | ROLES
        with guarded(module_database_url, **settings) as shop, ThreadPoolExecutor() as pool:
            token = bearing(issuer.token(role="clerk"))
            wait_until(lambda: shop.get("/products", headers=token).status_code == 200, 10, "the issuer's keys")
            asked = len(issuer.asked)
            issuer.delay_seconds = 4 * FETCH_SECONDS_MAX
            issuer.kids["new"] = issuer.rsa
            unknown = bearing(issuer.token(kid="new"))
            waiting = pool.submit(httpx.get, f"{shop.http.base_url}/products", headers=unknown, timeout=30)
            wait_until(lambda: len(issuer.asked) > asked, 5, "a fetch for the new key id")
            began = time.monotonic()
            for headers in (token, {}):
                assert shop.get("/products", headers=headers).status_code == 200
            assert problem(shop.get("/products", headers=unknown)) == (401, "unauthenticated")
            assert time.monotonic() - began < FETCH_SECONDS_MAX / 2
            assert waiting.result().status_code == 401
            assert time.monotonic() - began < 2 * FETCH_SECONDS_MAX
            issuer.delay_seconds = 0.0


@pytest.mark.anyio
async def test_a_token_that_comes_during_the_first_fetch_waits_for_it_and_causes_no_other() -> None:
    with issuing() as issuer:
        issuer.delay_seconds = 0.2
        keys = IssuerKeys(issuer.url, f"{issuer.url}/keys")
        first = asyncio.create_task(keys.fetch())
        await asyncio.sleep(0.05)
        assert await keys.find("rsa")
        assert issuer.asked == ["/keys"]
        issuer.kids["rsa-2"] = issuer.rsa
        assert await keys.find("rsa-2")
        await first


@pytest.mark.anyio
async def test_a_key_that_the_issuer_withdraws_ends_with_the_next_fetch() -> None:
    with issuing() as issuer:
        keys = IssuerKeys(issuer.url, None)
        await keys.fetch()
        assert await keys.find("rsa")
        del issuer.kids["rsa"]
        await keys.fetch()
        with pytest.raises(Problem, match="no key"):
            await keys.find("rsa")


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
        assert await keys.find("rsa")
        discovering = IssuerKeys(issuer.url, None)
        await discovering.fetch()
        assert set(issuer.asked) == {"/keys", "/.well-known/openid-configuration"}
        with pytest.raises(Problem, match="could not be fetched"):
            await discovering.find("rsa")


@pytest.mark.anyio
async def test_a_key_that_cannot_be_read_costs_no_other_one() -> None:
    with issuing() as issuer:
        (usable, *_) = issuer.documents()["/keys"]["keys"]
        unreadable = [usable | {"kid": "x", "alg": "none"}, usable | {"kid": "y", "n": 7}, {"kid": "z", "kty": []}]
        issuer.body = json.dumps({"keys": [*unreadable, usable]}).encode()
        keys = IssuerKeys(issuer.url, f"{issuer.url}/keys")
        await keys.fetch()
        assert await keys.find("rsa")
        for kid in "xyz":
            with pytest.raises(Problem, match="no key"):
                await keys.find(kid)
