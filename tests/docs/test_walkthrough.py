"""What the documentation tells a reader to type works as printed, and prints what it says."""

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from service.migrate import upgrade
from tests.docs.walking import ROOT, Api, blocks, masked, orders, running, steps, walk

ROLES = ("orders_owner", "orders_api", "orders_reader")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the documentation's commands use curl")


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def run_orders(arguments: list[str], database_url: str, place: Path) -> None:
    environment = {"DATABASE_URL": database_url}
    done = subprocess.run(
        orders(*arguments), cwd=place, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), arguments


def check(page: str, api: Api) -> None:
    wanted = steps(text_of(page))
    assert len(wanted) > 5
    for step, printed in zip(wanted, walk(wanted, api), strict=True):
        if step.printed is not None:
            assert printed == masked(step.printed), step.commands


@pytest.mark.parametrize("page", ["README.md", "docs/http.md"])
def test_the_commands_of_a_page_print_the_documented_output(
    page: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with running(database_url, redis_url, tmp_path) as api:
        check(page, api)


def test_the_first_order_can_be_placed_again(database_url: str, redis_url: str, tmp_path: Path) -> None:
    wanted = steps(text_of("README.md"))
    with running(database_url, redis_url, tmp_path) as api:
        first = walk(wanted, api)
        again = walk(wanted, api)
    # The user is there, the sku is taken, the order and its cancellation are answered as before.
    assert again[1] == first[1]
    assert again[-1] == first[-1]


def test_the_made_up_shop_can_be_imported_rebuilt_and_verified(database_url: str, tmp_path: Path) -> None:
    commands = [
        line.removeprefix(".venv/bin/").split()
        for language, content in blocks(text_of("README.md"))
        for line in content.splitlines()
        if not language and line.startswith(".venv/bin/orders ")
    ]
    assert [command[1] for command in commands] == ["import", "status", "verify", "replay"]
    for command in commands:
        arguments = [str(ROOT / it) if it.startswith("tests/") else it for it in command[1:]]
        run_orders(arguments, database_url, tmp_path)


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
