"""The service works with the three roles of docs/deploying.md, and these roles allow nothing else."""

import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql
from starlette.routing import Match, Route

from console.app import PAGES
from service.migrate import upgrade
from tests import loopback
from tests.access.keyed import bearing
from tests.builders import wait_until
from tests.console import shop
from tests.docs.walking import ROOT, Api, blocks, check, run_orders, running, steps, text_of, walk

ROLES = ("orders_owner", "orders_api", "orders_reader")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the documentation's commands use curl")


@pytest.fixture
def roles(empty_database_url: str) -> Iterator[dict[str, str]]:
    """The roles of docs/deploying.md, under names of this test's own, on a database that was set up as that page says.

    Each role's URL, by the name that the page gives it.
    """
    mark = f"_{uuid.uuid4().hex[:8]}"
    database = urlsplit(empty_database_url).path.removeprefix("/")
    before, after, timeouts = (content for _, content in blocks(text_of("docs/deploying.md"), "sql"))

    def named(statements: str) -> list[str]:
        for role in ROLES:
            statements = statements.replace(role, role + mark)
        # The migrated template has made the cluster's orders_writer; the database is made already, too.
        lines = [line for line in statements.splitlines() if "CREATE ROLE orders_writer" not in line]
        return [line.replace("CREATE DATABASE orders ", f"CREATE DATABASE {database}_ ") for line in lines]

    urls = {}
    for role in ROLES:
        parts = urlsplit(empty_database_url)
        host = parts.netloc.rpartition("@")[2]
        urls[role] = urlunsplit(parts._replace(netloc=f"{role}{mark}:secret@{host}", path=f"/{database}_"))
    with psycopg.connect(empty_database_url, autocommit=True) as admin:
        run(admin, named(before))
        try:
            upgrade(urls["orders_owner"])
            with psycopg.connect(urls["orders_owner"], autocommit=True) as owner:
                run(owner, named(after))
            run(admin, named(timeouts))
            yield urls
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(f"{database}_")))
            for role in ROLES:
                admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role + mark)))


def run(connection: psycopg.Connection, statements: list[str]) -> None:
    for statement in statements:
        connection.execute(statement.encode())


def ids(api: Api, key: dict[str, str]) -> dict[str, str]:
    """The id of an order, a product and a user that the README's commands made."""
    return {
        kind: loopback.get(f"{api.url}/{kind}", headers=key).json()["data"][0]["id"]
        for kind in ("orders", "products", "users")
    }


def look(api: Api, path: str, key: dict[str, str]) -> str:
    """The faults of a page; empty if there are none. The page `find` may answer that it found nothing."""
    answer = loopback.get(api.url + path, headers=key)
    denied = re.search("permission denied[^<]*", answer.text)
    if denied or answer.status_code in {200, 303} or "/find" in path:
        return denied.group() if denied else ""
    return f"{answer.status_code}: {answer.text[-300:]}"


def test_every_page_and_endpoint_of_operators_works_with_these_roles(
    roles: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    parked = shop.park(roles["orders_owner"])
    api_roles = {"DATABASE_URL": roles["orders_api"], "QUERY_DATABASE_URL": roles["orders_reader"], "CONSOLE": "1"}
    with running(roles["orders_owner"], redis_url, tmp_path, **api_roles) as api:
        key = bearing(api.key_file.read_text().strip())
        walk(steps(text_of("README.md")), api)
        at_first = look(api, "/console/", key)
        job = shop.record(roles["orders_owner"])
        found = ids(api, key)
        resources = [f"/{kind}/{number}" for kind, number in found.items()]
        pages = [
            *("/", "/sign-in", "/events", "/events?type=OrderPlaced", "/events/1", "/find?q=x", "/projections"),
            *("/parked", "/jobs", f"/jobs/{job}", "/replay?projection=shop", f"/skip?projection=shop&stream={parked}"),
            *("/imports", "/audit", "/keys", "/doctor", "/configuration"),
            *resources,
            *(f"{it}?version=1" for it in resources),
        ]
        refused = {path: why for path in pages if (why := look(api, f"/console{path}", key))}
        walked = [Route(template, lambda _: None) for template in PAGES]
        for route in walked:
            assert any(
                route.matches({"type": "http", "method": "GET", "path": it.partition("?")[0]})[0] is Match.FULL
                for it in pages
            ), route.path
        wait_until(lambda: not _last_batch_failed(roles["orders_owner"]), 10, "the worker clears the recorded error")
        refused |= {path: why for path in _operators_paths(api) if (why := look(api, path, key))}
        assert (at_first, refused) == ("", {})
        asked = {"projection": "shop", "kind": "verify", "reason": "to see"}
        answer = loopback.post(f"{api.url}/console/jobs", data=asked, headers=key)
        assert answer.status_code == 303, answer.text
        for role in ("orders_owner", "orders_api"):
            for command in (["status"], ["jobs"], ["parked"], ["audit"], ["imports"], ["keys", "list"], ["events"]):
                run_orders(command, roles[role], tmp_path)
        run_orders(["import", str(ROOT / "tests/fixtures/shop"), "--currency", "EUR"], roles["orders_api"], tmp_path)


def _last_batch_failed(database_url: str) -> bool:
    """Whether `sales` still has the error that `shop.record` wrote; `/readyz` is 503 until the worker looks again."""
    with psycopg.connect(database_url) as connection:
        return bool(connection.execute("SELECT FROM sales.checkpoint WHERE error IS NOT NULL").rowcount)


def _operators_paths(api: Api) -> list[str]:
    """The paths of the API that need no id."""
    document = loopback.get(f"{api.url}/openapi.json").json()
    return [path for path, item in document["paths"].items() if "get" in item and "{" not in path]


def test_the_roles_that_deploying_describes_are_enough_and_not_too_much(
    roles: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    api_roles = {"DATABASE_URL": roles["orders_api"], "QUERY_DATABASE_URL": roles["orders_reader"]}
    with running(roles["orders_owner"], redis_url, tmp_path, **api_roles) as api:
        check("README.md", api)
        for command in ("replay", "verify"):
            run_orders([command], roles["orders_owner"], tmp_path)
        # The new tables have the grants of the old ones.
        walk(steps(text_of("README.md")), api)
    for role, statement in (
        ("orders_api", "UPDATE log.events SET type = 'x'"),
        ("orders_api", "DELETE FROM log.events"),
        ("orders_api", "TRUNCATE log.events"),
        ("orders_owner", "DELETE FROM log.events"),
        ("orders_api", "UPDATE shop.products SET stock = 0"),
        ("orders_reader", "DELETE FROM shop.checkpoint"),
    ):
        with (
            psycopg.connect(roles[role]) as connection,
            pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)),
        ):
            connection.execute(statement)
