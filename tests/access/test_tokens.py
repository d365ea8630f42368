"""Tokens of an issuer: those that are taken, and those that must not be."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from access.issuer import IssuerKeys
from contract.problems import Problem
from tests import loopback
from tests.access.issuing_tokens import AUDIENCE, Issuer, address, issuing, raw
from tests.access.keyed import bearing, guarded
from tests.builders import wait_until
from tests.served import Shop, problem

# What the 60 hostile tokens are made of.
URL = "http://127.0.0.1:9/keys"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def shop(module_database_url: str, issuer: Issuer) -> Iterator[Shop]:
    trusted = {"jwt_issuer": issuer.url, "jwt_audience": AUDIENCE, "jwt_role_claim": "realm.roles"}
    with guarded(module_database_url, behind_proxy=True, **trusted, jwt_role_map="admin=operator,clerk=staff") as shop:
        wait_until(lambda: shop.get("/products", headers=bearing(issuer.token(roles=1))).status_code != 503, 10, "keys")
        yield shop


def signed(issuer: Issuer, header: bytes, claims: bytes) -> str:
    """A token that the issuer's own key signs, whatever its parts are."""
    head, body, _ = raw(header, claims).split(".")
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(
        f"{head}.{body}".encode(), issuer.rsa
    )
    return f"{head}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def hostile(issuer: Issuer) -> dict[str, str]:
    """Tokens that must not be taken, by what is wrong with them."""
    good = issuer.token()
    head, body, signature = good.split(".")
    claims = issuer.claims()
    pem = issuer.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    own_jwk = jwt.algorithms.RSAAlgorithm.to_jwk(stranger.public_key(), as_dict=True)
    found = {
        "another's key": jwt.encode(claims, stranger, "RS256", {"kid": "rsa"}),
        "no key id": jwt.encode(claims, issuer.rsa, "RS256"),
        "no signature": f"{head}.{body}.",
        "cut signature": good[:-4],
        "another body": f"{head}.{raw({}, issuer.claims('eve')).split('.')[1]}.{signature}",
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.{signature}",
        "five parts": "a.b.c.d.e",
        "no parts": "...",
        "no base64": "%%%.%%%.%%%",
        "too long": issuer.token(filler="x" * 9_000),
        "key for another algorithm": raw({"alg": "ES256", "kid": "rsa"}, claims, b"x" * 64),
        "header of an array": raw([], claims),
        "header that is no JSON": raw(b"{", claims),
        "claims that are no JSON": signed(issuer, b'{"alg":"RS256","kid":"rsa"}', b"{"),
        "claims of an array": signed(issuer, b'{"alg":"RS256","kid":"rsa"}', b"[]"),
        "kid of a number": raw({"alg": "RS256", "kid": 7}, claims),
        "kid of an array": raw({"alg": "RS256", "kid": ["rsa"]}, claims),
        "long kid": raw({"alg": "RS256", "kid": "x" * 300}, claims),
        "another type": jwt.encode(claims, issuer.rsa, "RS256", {"kid": "rsa", "typ": "secevent+jwt"}),
        "type of a number": raw({"alg": "RS256", "kid": "rsa", "typ": 7}, claims),
        "the issuer's shared secret": jwt.encode(claims, b"secret" * 8, "HS256", {"kid": "secret"}),
    }
    for alg in ("none", "None", "NONE", "", None, 7, ["RS256"], "RS999"):
        found[f"alg {alg!r}"] = raw({"alg": alg, "kid": "rsa"}, claims, b"")
    for alg, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
        start = raw({"alg": alg, "kid": "rsa"}, claims).rpartition(".")[0]
        mac = hmac.new(pem, start.encode(), digest).digest()
        found[f"{alg} with the public key"] = f"{start}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    for kid in ("../../etc/passwd", "/dev/null", "rsa' OR '1'='1", "http://127.0.0.1:9/", "rsa\0", "RSA", " rsa"):
        found[f"kid {kid!r}"] = jwt.encode(claims, issuer.rsa, "RS256", {"kid": kid})
    for name, value in (("jku", URL), ("x5u", URL), ("jwk", own_jwk), ("x5c", ["MIIB"]), ("crit", ["exp"])):
        found[f"header {name}"] = jwt.encode(claims, stranger, "RS256", {"kid": "rsa", name: value})
        found[f"own key and header {name}"] = jwt.encode(claims, issuer.rsa, "RS256", {"kid": "rsa", name: value})
    for name, value in {
        "iss": "https://evil.example", "aud": "another", "sub": "", "nbf": time.time() + 600, "iat": time.time() + 600,
    }.items():  # fmt: skip
        found[f"wrong {name}"] = issuer.token(**{name: value})  # type: ignore[arg-type]
    for name in ("iss", "aud", "sub", "exp"):
        found[f"no {name}"] = issuer.token(**{name: None})  # type: ignore[arg-type]
    found["aud in a list of others"] = issuer.token(aud=["x", "y"])
    found["sub of a number"] = signed(issuer, b'{"alg":"RS256","kid":"rsa"}', json.dumps(claims | {"sub": 7}).encode())
    found["exp of a text"] = signed(
        issuer, b'{"alg":"RS256","kid":"rsa"}', json.dumps(claims | {"exp": "soon"}).encode()
    )
    # RFC 7519, section 2: a NumericDate is a JSON number. PyJWT takes texts of digits too.
    for name in ("exp", "nbf", "iat"):
        at: Any = str(int(time.time()) + (300 if name == "exp" else -5))
        found[f"{name} of digits in a text"] = issuer.token(**{name: at})
    truth: Any = True
    for name in ("nbf", "iat"):
        found[f"{name} of a boolean"] = issuer.token(**{name: truth})
    found["exp that no float holds"] = issuer.token(exp=10**400)
    found["long sub"] = issuer.token("x" * 101)
    found["sub with a line break"] = issuer.token("ada\nadmin")
    for lost in (
        "undefined",
        "null",
        '"null"',
        "{{user.id}}",
        "auth0|undefined",
        "user-null",
    ):  # it would be one customer for all
        found[f"sub {lost}"] = issuer.token(lost)
    twice = json.dumps(claims)[:-1] + ', "sub": "eve"}'
    found["duplicate claims"] = signed(issuer, b'{"alg":"RS256","kid":"rsa"}', twice.encode())
    found["duplicate headers"] = signed(
        issuer, b'{"alg":"RS256","alg":"RS256","kid":"rsa"}', json.dumps(claims).encode()
    )
    return found


def test_hostile_tokens_are_refused_and_nothing_is_fetched_for_them(shop: Shop, issuer: Issuer) -> None:
    tokens = hostile(issuer)
    assert len(tokens) >= 60
    shop.get("/products", headers=bearing(jwt.encode(issuer.claims(), issuer.rsa, "RS256", {"kid": "first"})))
    asked = len(issuer.asked)
    with loopback.Client(base_url=shop.http.base_url) as client:
        for number, (name, token) in enumerate(tokens.items()):
            # Each from another address: an address may fail 30 times a minute.
            headers = {"Authorization": b"Bearer " + token.encode("latin-1"), "X-Forwarded-For": f"198.51.100.{number}"}
            answer = client.get("/products", headers=headers)
            assert problem(answer) == (401, "unauthenticated"), name
            assert len(token) < 20 or token not in answer.text
    assert len(issuer.asked) == asked


@pytest.mark.parametrize(("kid", "alg"), [("rsa", "RS256"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")])
def test_a_clerks_token_is_taken(shop: Shop, issuer: Issuer, kid: str, alg: str) -> None:
    token = issuer.token("clerk", kid, alg, realm={"roles": ["tea", "clerk"]})
    assert shop.get("/sales", headers=bearing(token)).status_code == 200
    assert problem(shop.get("/keys", headers=bearing(token))) == (403, "missing-scope")
    admin = issuer.token("admin", kid, alg, realm={"roles": ["clerk", "admin"]})
    assert shop.get("/keys", headers=bearing(admin)).status_code == 200


def test_a_subject_registers_itself_and_is_that_user_from_then_on(shop: Shop, issuer: Issuer) -> None:
    subject = uuid4().hex
    token = bearing(issuer.token(subject))
    assert problem(shop.get("/orders", headers=token)) == (403, "missing-scope")
    body = {"name": "Ada", "email": f"{subject}@example.org"}
    assert problem(shop.post("/users", json=body | {"external_id": "another"}, headers=token)) == (
        422,
        "validation-error",
    )
    made = shop.post("/users", json=body, headers=token)
    assert (made.status_code, made.json()["external_id"]) == (201, subject)
    assert problem(shop.post("/users", json=body, headers=token)) == (409, "already-registered")
    order = {"user_id": made.json()["id"], "items": [{"sku": shop.product()["sku"], "quantity": 1}]}
    placed = shop.post("/orders", json=order, headers=token)
    assert placed.status_code == 201
    others = bearing(issuer.token("another"))
    assert shop.post(f"{placed.headers['location']}/cancel", headers=others).status_code == 403
    changed = shop.put(f"/users/{made.json()['id']}", json=body | {"name": "Ada L."}, headers=token)
    assert changed.status_code == 200


def test_an_expired_token_says_so(shop: Shop, issuer: Issuer) -> None:
    assert problem(shop.get("/orders", headers=bearing(issuer.token(exp=int(time.time()) - 60)))) == (
        401,
        "token-expired",
    )
    late = issuer.token("clerk", realm={"roles": ["clerk"]}, exp=int(time.time()) - 10)
    assert shop.get("/orders", headers=bearing(late)).status_code == 200  # clocks differ


@pytest.mark.anyio
async def test_unknown_key_ids_fetch_at_most_once_in_thirty_seconds() -> None:
    with issuing() as issuer:
        keys = IssuerKeys(issuer.url, f"{issuer.url}/keys")
        await keys.fetch()
        for number in range(10_000):
            with pytest.raises(Problem, match="no key"):
                await keys.find(f"unknown-{number}", address)
        assert len(issuer.asked) == 2


@pytest.mark.anyio
async def test_keys_outlive_an_outage_and_a_new_one_is_found() -> None:
    now = [0.0]
    with issuing() as issuer:
        keys = IssuerKeys(issuer.url, None, lambda: now[0])
        issuer.status = 500
        with pytest.raises(Problem, match="could not be fetched"):
            await keys.find("rsa", address)
        issuer.status = 200
        now[0] += 31
        assert await keys.find("rsa", address)
        for status, body in ((500, None), (302, None), (200, b"[]"), (200, b"{}"), (200, b"x" * 300_000)):
            issuer.status, issuer.body = status, body
            await keys.fetch()
            assert await keys.find("rsa", address)
        assert "/elsewhere" not in issuer.asked
        issuer.status, issuer.body = 200, None
        issuer.kids["rsa-2"] = issuer.rsa
        now[0] += 35
        assert await keys.find("rsa-2", address)
        now[0] += 25 * 3600
        issuer.status = 500
        with pytest.raises(Problem, match="could not be fetched"):
            await keys.find("rsa", address)
