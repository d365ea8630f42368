"""Making, rotating and revoking keys, over HTTP and on the command line; what the audit says of it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests import loopback
from tests.access.keyed import bearing, guarded, new_key
from tests.builders import wait_until
from tests.served import Shop, problem
from tests.system.stack import SURROUNDINGS


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with guarded(module_database_url) as shop:
        yield shop


def status(shop: Shop, text: str) -> int:
    return shop.get("/products", headers=bearing(text)).status_code


def orders(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = SURROUNDINGS | {"DATABASE_URL": shop.database_url}
    command = [sys.executable, "-P", "-m", "service.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("redirected", ["> /dev/full", "| sleep 0", ">&-"])
def test_a_key_that_could_not_be_printed_is_named_so_that_it_can_be_revoked(shop: Shop, redirected: str) -> None:
    made = shop.post("/keys", json={"name": "till", "role": "staff"}).json()["id"]
    for arguments in ("create --name till --role staff", f"rotate {made}"):
        command = f"set -o pipefail; {sys.executable} -P -m service.cli keys {arguments} {redirected}"
        environment = SURROUNDINGS | {"DATABASE_URL": shop.database_url}
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        told = re.fullmatch(r"orders: [\w ]+: the key (\w+) was made and could not be printed: `.+`, .+\n", done.stderr)
        assert told, done.stderr
        assert orders(shop, "keys", "revoke", told[1]).returncode == 0


def test_a_key_is_made_used_rotated_and_revoked(shop: Shop) -> None:
    made = shop.post("/keys", json={"name": "till", "role": "staff"})
    assert made.status_code == 201, made.text
    first = made.json()
    assert status(shop, first["key"]) == 200
    rotated = shop.post(f"/keys/{first['id']}/rotate", json={"overlap_hours": 1})
    second = rotated.json()
    assert (rotated.status_code, second["account"], second["scopes"]) == (201, first["account"], first["scopes"])
    assert [status(shop, it["key"]) for it in (first, second)] == [200, 200]  # the overlap
    assert problem(shop.post(f"/keys/{first['id']}/rotate")) == (404, "not-found")  # once only
    assert shop.delete(f"/keys/{second['id']}").status_code == 204
    assert [status(shop, it["key"]) for it in (first, second)] == [200, 401]
    assert problem(shop.delete(f"/keys/{second['id']}")) == (404, "not-found")
    shown = {it["id"]: it for it in shop.get("/keys").json()["data"]}
    assert shown[first["id"]]["replaced_by"] == second["id"]
    assert shown[second["id"]]["revoked_at"] is not None


def test_an_id_that_no_key_can_have_is_not_found(shop: Shop) -> None:
    for answer in (shop.delete("/keys/a%00b"), shop.post("/keys/a%00b/rotate"), shop.delete("/keys/undefined")):
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_keys_are_listed_in_pages(shop: Shop) -> None:
    made = [shop.post("/keys", json={"name": f"till {number}", "role": "staff"}).json()["id"] for number in range(3)]
    listed: list[str] = []
    path = "/keys?limit=2"
    while path:
        page = shop.get(path)
        assert len(page.json()["data"]) <= 2
        listed += [it["id"] for it in page.json()["data"]]
        following = page.json()["next"]
        assert (following is None) == ("link" not in page.headers)
        path = f"/keys?limit=2&cursor={following}" if following else ""
    assert listed == [it["id"] for it in shop.get("/keys").json()["data"]]
    assert listed[-3:] == made
    for parameters in ("limit=0", "limit=1001", "cursor=a-b", "page=2"):
        assert shop.get(f"/keys?{parameters}").status_code == 400


def test_without_an_overlap_the_old_key_ends_at_once(shop: Shop) -> None:
    first = shop.post("/keys", json={"name": "till", "role": "staff"}).json()
    shop.post(f"/keys/{first['id']}/rotate", json={"overlap_hours": 0})
    assert status(shop, first["key"]) == 401


def test_an_idempotency_key_outlives_a_rotation(shop: Shop) -> None:
    first = shop.post("/keys", json={"name": "till", "role": "staff"}).json()
    body = {"name": "Ada", "email": f"{first['id']}@example.org"}
    key = {"Idempotency-Key": "once"}
    before = shop.post("/users", json=body, headers=key | bearing(first["key"]))
    second = shop.post(f"/keys/{first['id']}/rotate").json()
    after = shop.post("/users", json=body, headers=key | bearing(second["key"]))
    assert (before.status_code, after.content) == (201, before.content)
    assert after.headers["idempotency-replayed"] == "true"


NOBODY_IN_PARTICULAR = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "role": "staff"},
        {"name": "x", "role": "king"},
        {"name": "x", "role": "integration", "scopes": ["orders:burn"]},
        {"name": "x", "role": "customer", "user_id": "7"},
        {"name": "x", "role": "customer", "user_id": False},
        # A client that has lost a value must not get a key that may do more, or that never ends.
        {"name": "x", "role": "staff", "scopes": []},
        {"name": "x", "role": "integration", "scopes": ["orders:read"], "user_id": None},
        {"name": "x", "role": "staff", "expires_in_hours": None},
    ],
)
def test_a_body_that_is_not_as_documented_makes_no_key(shop: Shop, body: dict[str, object]) -> None:
    head = shop.head()
    assert problem(shop.post("/keys", json=body)) == (422, "validation-error")
    assert shop.head() == head


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x\nforged line", "role": "staff"},
        {"name": "x", "role": "customer"},
        {"name": "x", "role": "staff", "user_id": NOBODY_IN_PARTICULAR},
        {"name": "x", "role": "staff", "scopes": ["keys:write"]},
        {"name": "x", "role": "integration"},
        {"name": "x", "role": "customer", "user_id": "00000000-0000-0000-0000-000000000000"},
        {"name": "x", "role": "integration", "scopes": ["orders:read", "ops:read"], "user_id": NOBODY_IN_PARTICULAR},
        {"name": "x", "role": "customer", "user_id": NOBODY_IN_PARTICULAR},
    ],
)
def test_a_key_that_cannot_be_is_refused(shop: Shop, body: dict[str, object]) -> None:
    head = shop.head()
    assert problem(shop.post("/keys", json=body)) == (422, "impossible-key")
    assert shop.head() == head


def test_a_caller_cannot_make_a_key_with_a_scope_that_he_lacks(shop: Shop) -> None:
    clerk = bearing(new_key(shop.database_url, "integration", ["keys:write", "orders:read"]))
    refused = shop.post("/keys", json={"name": "x", "role": "operator"}, headers=clerk)
    assert problem(refused) == (403, "missing-scope")
    operators = shop.post("/keys", json={"name": "x", "role": "operator"}).json()
    stolen = shop.post(f"/keys/{operators['id']}/rotate", headers=clerk)
    assert problem(stolen) == (403, "missing-scope")
    assert status(shop, operators["key"]) == 200
    own = {"name": "x", "role": "integration", "scopes": ["orders:read"]}
    assert shop.post("/keys", json=own, headers=clerk).status_code == 201


def test_the_audit_records_actor_action_and_origin(shop: Shop) -> None:
    request = {"X-Request-Id": "audit-1"}
    made = shop.post("/keys", json={"name": "till", "role": "staff"}, headers=request).json()
    operator = next(it for it in shop.get("/keys").json()["data"] if it["role"] == "operator")
    act = shop.get("/audit?limit=1").json()["data"][0]
    assert (act["act"], act["target"], act["reason"]) == ("key.created", f"key {made['id']}", "till")
    assert act["actor"]["kind"] == "key"
    assert act["request_id"] == "audit-1"
    assert act["actor"]["id"] in {it["id"] for it in shop.get("/keys").json()["data"]}
    assert operator["id"]
    pages = []
    url: str | None = "/audit?limit=2"
    while url:
        page = shop.get(url)
        pages += page.json()["data"]
        url = page.links.get("next", {}).get("url")
    positions = [it["position"] for it in pages]
    assert positions == sorted(positions, reverse=True)
    assert len(positions) > 2


def test_the_command_line_makes_lists_rotates_and_revokes(shop: Shop, tmp_path: Path) -> None:
    done = orders(shop, "keys", "create", "--name", "till", "--role", "staff", "--expires", "90d")
    text = done.stdout.strip()
    assert (done.returncode, done.stderr) == (0, "")
    assert status(shop, text) == 200
    listed = json.loads(orders(shop, "keys", "list", "--json").stdout)["data"]
    (key,) = [it for it in listed if text.startswith(f"ok_live_{it['id']}")]
    assert key["expires_at"] is not None
    (tmp_path / "key").write_text(text)
    environment = SURROUNDINGS | {"DATABASE_URL": shop.database_url, "ORDERS_API_KEY_FILE": str(tmp_path / "key")}
    command = [sys.executable, "-P", "-m", "service.cli", "whoami"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert told.stdout.startswith(f"{key['id']} (till), role staff, until ")
    replacement = orders(shop, "keys", "rotate", key["id"], "--overlap", "0h").stdout.strip()
    # Another process changed the keys: the API reads them anew every two seconds.
    wait_until(lambda: [status(shop, it) for it in (text, replacement)] == [401, 200], 5, "the old key is refused")
    third = orders(shop, "keys", "rotate", replacement[8:16])  # which leaves the old key a day
    assert (third.returncode, third.stderr) == (0, "")
    wait_until(lambda: status(shop, third.stdout.strip()) == 200, 5, "the new key is accepted")
    assert status(shop, replacement) == 200
    revoked = orders(shop, "keys", "revoke", replacement[8:16], "--reason", "it was published")
    assert revoked.returncode == 0
    last = json.loads(orders(shop, "audit", "--json", "--limit", "1").stdout)["data"][0]
    assert (last["act"], last["reason"], last["actor"]["kind"]) == ("key.revoked", "it was published", "cli")
    again = orders(shop, "keys", "revoke", replacement[8:16])
    assert (again.returncode, len(again.stderr.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    "arguments",
    ["--role king", "--role customer", "--role staff --expires soon", "--role staff --expires 0d",
     "--role customer --user 7",
     "--role staff --scope keys:write"],
)  # fmt: skip
def test_a_wrong_key_is_one_line_on_the_command_line(shop: Shop, arguments: str) -> None:
    done = orders(shop, "keys", "create", "--name", "x", *arguments.split())
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_a_key_for_a_user_who_does_not_exist_is_refused_on_the_command_line(shop: Shop) -> None:
    head = shop.head()
    command = ["keys", "create", "--name", "app", "--role", "customer", "--user"]
    refused = orders(shop, *command, NOBODY_IN_PARTICULAR)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "there is no user with the id" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert shop.head() == head
    made = orders(shop, *command, shop.user()["id"].upper())
    assert made.returncode == 0


def test_no_key_is_in_the_database(shop: Shop) -> None:
    texts = [new_key(shop.database_url, "staff") for _ in range(100)]
    with psycopg.connect(shop.database_url) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|information)'"
        ).fetchall()
        dump = "".join(
            str(connection.execute(f"SELECT array_agg(t::text) FROM {name} AS t".encode()).fetchall())
            for (name,) in tables
        )
    assert "api_keys" in str(tables)
    assert not [it for it in texts if it[16:] in dump or it in dump]


def test_a_key_that_another_process_revoked_is_refused_within_two_seconds(shop: Shop) -> None:
    with guarded(shop.database_url) as other, loopback.Client(base_url=other.http.base_url) as client:
        made = shop.post("/keys", json={"name": "till", "role": "staff"}).json()
        headers = bearing(made["key"])
        assert client.get("/products", headers=headers).status_code == 200
        shop.delete(f"/keys/{made['id']}")
        import time

        started = time.monotonic()
        while client.get("/products", headers=headers).status_code == 200:
            assert time.monotonic() - started < 2.5
            time.sleep(0.02)
