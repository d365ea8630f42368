"""An operator finds out what a stolen key did, and ends the keys that it has made."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from service.http.request_log import HELD_SECONDS_MAX
from tests.access.keyed import bearing, guarded
from tests.builders import wait_until
from tests.served import Shop
from tests.system.stack import SURROUNDINGS


@pytest.fixture
def shop(database_url: str, caplog: pytest.LogCaptureFixture) -> Iterator[Shop]:
    caplog.set_level(logging.INFO, logger="request")
    with guarded(database_url) as shop:
        yield shop


def orders(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = SURROUNDINGS | {"DATABASE_URL": shop.database_url}
    command = [sys.executable, "-P", "-m", "service.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def made(shop: Shop, role: str, **by: str) -> dict[str, str]:
    answer = shop.post("/keys", json={"name": f"a {role}", "role": role}, headers=by)
    assert answer.status_code == 201, answer.text
    key: dict[str, str] = answer.json()
    return key


def test_a_revocation_names_the_valid_keys_that_the_key_has_made(shop: Shop) -> None:
    stolen = made(shop, "operator")
    second, third = (made(shop, "operator", **bearing(stolen["key"])) for _ in range(2))
    assert orders(shop, "keys", "revoke", third["id"]).stdout == f"revoked {third['id']}\n"
    told = orders(shop, "keys", "revoke", stolen["id"]).stdout.splitlines()
    assert told[0] == f"revoked {stolen['id']}"
    assert told[1:] == [f"it has made keys that are still valid; if it was stolen, revoke them too: {second['id']}"]


def test_the_list_of_keys_names_the_maker_and_the_last_use_of_each(shop: Shop) -> None:
    key = made(shop, "staff")
    (maker,) = [it["created_by"] for it in shop.get("/keys").json()["data"] if it["id"] == key["id"]]

    def row() -> str:
        (found,) = [it for it in orders(shop, "keys", "list").stdout.splitlines() if it.startswith(key["id"])]
        return found

    assert f"{maker}  never" in row()
    assert shop.get("/products", headers=bearing(key["key"])).status_code == 200
    used = [it for it in shop.get("/keys").json()["data"] if it["id"] == key["id"]]
    wait_until(lambda: "never" not in row(), 10, f"the hour of its use, after {used}")


def test_the_events_that_a_key_caused_are_listed(shop: Shop) -> None:
    shop.user()
    key = made(shop, "staff")
    user = shop.post("/users", json={"name": "Eve", "email": "eve@example.org"}, headers=bearing(key["key"])).json()
    product = {"sku": "tea", "name": "Tea", "price": "7.20", "currency": "EUR", "stock": 3}
    assert shop.post("/products", json=product, headers=bearing(key["key"])).status_code == 201
    shop.user()

    def listed(*options: str) -> list[str]:
        done = orders(shop, "events", "--actor", key["id"], "--json", *options)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["type"] for line in done.stdout.splitlines()]

    assert listed() == ["UserRegistered", "ProductAdded", "StockAdjusted"]
    assert listed("--type", "UserRegistered", "--type", "StockAdjusted") == ["UserRegistered", "StockAdjusted"]
    assert listed("--since", "1h") == ["UserRegistered", "ProductAdded", "StockAdjusted"]
    done = orders(shop, "events", "--actor", key["id"], "--limit", "1")
    assert f"user-{user['id']}" in done.stdout
    assert done.stderr.startswith(f"there is more: orders events --actor {key['id']} --after ")
    refused = orders(shop, "events", "--actor", key["id"], "--follow")
    assert (refused.returncode, refused.stderr) == (2, "orders: --actor goes with --type, --since and --after\n")


def test_the_log_line_of_a_request_names_the_key_also_when_the_request_is_refused(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    key = made(shop, "staff")
    assert shop.get("/products", headers=bearing(key["key"])).status_code == 200
    assert shop.get("/keys", headers=bearing(key["key"])).status_code == 403
    written: list[str] = []

    def lines() -> list[str]:
        written.extend(it for it in capsys.readouterr().err.splitlines() if f" by {key['id']} [" in it)
        return written

    wait_until(lambda: len(lines()) == 2, 20 * HELD_SECONDS_MAX, "two lines")
    assert "GET /products 200" in written[0]
    assert "GET /keys 403" in written[1]
    assert key["key"] not in "".join(written)
