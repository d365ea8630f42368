"""The form of API keys, and whose they are."""

import asyncio
import contextlib
import os
import signal
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from access import keys, store
from access.holder import READ_SECONDS_MAX, KeyHolder
from access.issuing import Wanted, create, revoke
from access.roles import ROLES, scopes_of, widened
from access.tables import api_keys
from contract.callers import SCOPES
from contract.problems import Problem
from tests import loopback
from tests.access.keyed import bearing, guarded, new_key
from tests.served import problem


def test_a_key_has_its_documented_form() -> None:
    made = keys.make()
    assert made.text.startswith(f"ok_live_{made.id}")
    assert len(made.text) == len("ok_live_") + 8 + 43 + 6
    assert made.text.isascii()
    assert made.text.replace("_", "").isalnum()
    assert keys.is_well_formed(made.text)
    assert made.sha256 == keys.digest(made.text)
    assert keys.make().text != made.text


def test_a_typing_error_in_any_place_is_noticed() -> None:
    text = keys.make().text
    for place in range(len(text)):
        other = "a" if text[place] != "a" else "b"
        assert not keys.is_well_formed(text[:place] + other + text[place + 1 :])
    assert not keys.is_well_formed(text + "a")
    assert not keys.is_well_formed("")


def test_write_implies_read_and_nothing_implies_keys() -> None:
    assert widened(["orders:write"]) == {"orders:write", "orders:read"}
    assert widened(["stock:write"]) == {"stock:write"}
    assert not any("keys:write" in widened([it]) for it in ROLES["operator"] - {"keys:write"})


@pytest.mark.parametrize(
    ("role", "scopes"),
    [("king", ()), ("customer", ("products:write",)), ("staff", ("keys:write",)), ("integration", ()),
     ("integration", ("everything",))],
)  # fmt: skip
def test_no_key_has_a_scope_that_its_role_lacks(role: str, scopes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"role|scope"):
        scopes_of(role, scopes)


def test_a_key_allows_exactly_the_operations_of_its_scopes(database_url: str) -> None:
    with guarded(database_url) as shop:
        product = shop.product()
        reading = bearing(new_key(database_url, "integration", ["products:read"]))
        with loopback.Client(base_url=shop.http.base_url) as client:
            assert problem(client.get("/products")) == (401, "unauthenticated")
            assert client.get("/products", headers=reading).status_code == 200
            refused = client.delete(f"/products/{product['id']}", headers=reading)
            assert problem(refused) == (403, "missing-scope")
            assert (refused.json()["required"], refused.json()["held"]) == ("products:write", ["products:read"])
            assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic b2s6bGl2ZQ==", "Bearer " + "k" * 65, "bearer\ta"])
def test_a_request_without_a_valid_key_is_refused(module_database_url: str, header: str) -> None:
    with guarded(module_database_url) as shop, loopback.Client(base_url=shop.http.base_url) as client:
        answer = client.post("/orders", headers={"Authorization": header}, content=b"{not json")
        assert problem(answer) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_well_formed_key_that_was_never_issued_is_refused(module_database_url: str) -> None:
    with guarded(module_database_url) as shop:
        assert problem(shop.get("/orders", headers=bearing(keys.make().text))) == (401, "unauthenticated")


def test_a_revoked_key_is_refused_by_a_process_whose_clock_is_behind(database_url: str) -> None:
    async def use_it_after_revoking() -> None:
        actor = {"kind": "cli", "id": "0"}
        issued = await create(database_url, Wanted("till", "staff"), actor)
        holder = KeyHolder(database_url, lambda: datetime.now(UTC) - timedelta(minutes=5))
        async with holder.kept_current():
            assert (await holder.find(issued.text)).subject == issued.row.id
            await revoke(database_url, issued.row.id, None, actor)
            await holder.refresh()
            with pytest.raises(Problem, match="was revoked"):
                await holder.find(issued.text)

    asyncio.run(use_it_after_revoking())


@pytest.mark.parametrize(
    ("column", "days_ago", "reason"),
    [
        ("expires_at", 29, "has expired"),
        ("expires_at", 31, "no such API key"),
        ("revoked_at", 29, "was revoked"),
        ("revoked_at", 31, "no such API key"),
    ],
)
def test_a_key_that_ended_long_ago_takes_no_memory(database_url: str, column: str, days_ago: int, reason: str) -> None:
    async def use_it() -> None:
        issued = await create(database_url, Wanted("till", "staff"), {"kind": "cli", "id": "0"})
        with psycopg.connect(database_url) as connection:
            ended = f"UPDATE access.api_keys SET {column} = now() - interval '{days_ago} days'"
            connection.execute(ended.encode())
        holder = KeyHolder(database_url)
        async with holder.kept_current():
            with pytest.raises(Problem, match=reason) as refused:
                await holder.find(issued.text)
            assert refused.value.status_code == 401

    asyncio.run(use_it())


def counted(connection: psycopg.Connection) -> object:
    return connection.execute("SELECT version FROM access.api_keys_version").fetchone()


@pytest.mark.parametrize("column", [column.name for column in api_keys.columns])
def test_each_change_of_a_key_but_the_hour_of_its_use_raises_the_version(database_url: str, column: str) -> None:
    new_key(database_url, "staff")
    with psycopg.connect(database_url) as connection:
        before = counted(connection)
        connection.execute(f"UPDATE access.api_keys SET {column} = {column}".encode())
        assert (counted(connection) == before) == (column == "last_used_hour")


@pytest.mark.parametrize(
    "change",
    [
        (
            "INSERT INTO access.api_keys (id, account, name, sha256, role, scopes, created_by) "
            "VALUES ('x', 'x', 'x', '', 'staff', '{}', 'x')"
        ),
        "DELETE FROM access.api_keys",
        "TRUNCATE access.api_keys",
        "SET session_replication_role = replica; DELETE FROM access.api_keys",
    ],
)
def test_keys_that_come_and_go_raise_the_version(database_url: str, change: str) -> None:
    new_key(database_url, "staff")
    with psycopg.connect(database_url) as connection:
        before = counted(connection)
        connection.execute(change.encode())
        assert counted(connection) not in {before, None}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE access.api_keys SET role = 'operator'",
        "UPDATE access.api_keys SET scopes = '{}'",
        "UPDATE access.api_keys SET revoked_at = now()",
        "UPDATE access.api_keys SET expires_at = now()",
        "DELETE FROM access.api_keys",
        # Processes notice a change of a key even if an operator has altered the row of the version.
        "UPDATE access.api_keys SET revoked_at = now(); UPDATE access.api_keys_version SET version = version - 1",
        "DELETE FROM access.api_keys; DELETE FROM access.api_keys_version",
        "DELETE FROM access.api_keys_version; DELETE FROM access.api_keys",
    ],
)
def test_keys_are_read_again_only_when_one_has_changed(database_url: str, change: str) -> None:
    async def look_twice() -> None:
        text = (await create(database_url, Wanted("till", "staff"), {"kind": "cli", "id": "0"})).text
        holder = KeyHolder(database_url)

        async def found() -> object:
            try:
                return await holder.find(text)
            except Problem as refusal:
                return refusal

        async with holder.kept_current():
            first = await found()
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute("UPDATE access.api_keys SET last_used_hour = now()")
                await holder.refresh()
                assert await found() is first
                connection.execute(change.encode())
            await holder.refresh()
            assert await found() is not first

    asyncio.run(look_twice())


def test_keys_are_read_again_on_a_new_connection(database_url: str) -> None:
    async def lose_the_connection() -> None:
        text = (await create(database_url, Wanted("till", "staff"), {"kind": "cli", "id": "0"})).text
        holder = KeyHolder(database_url)
        async with holder.kept_current():
            with psycopg.connect(database_url, autocommit=True) as connection:
                # A restored database may have the same version, of other keys.
                connection.execute("ALTER TABLE access.api_keys DISABLE TRIGGER count_change")
                connection.execute("UPDATE access.api_keys SET revoked_at = now()")
                await holder.refresh()
                assert (await holder.find(text)).role == "staff"
                query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orders keys'"
                connection.execute(f"{query} AND datname = current_database()".encode())
            await holder.refresh()  # notices that the connection is gone
            await holder.refresh()
            with pytest.raises(Problem, match="was revoked"):
                await holder.find(text)

    asyncio.run(lose_the_connection())


@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE access.api_keys RENAME TO gone", "REVOKE SELECT ON access.api_keys FROM orders_writer"],
)
def test_keys_that_can_no_longer_be_read_are_a_trouble_while_the_last_ones_hold(database_url: str, change: str) -> None:
    known = new_key(database_url, "staff")

    async def look_twice() -> None:
        holder = KeyHolder(f"{database_url}&options=-c%20role%3Dorders_writer")
        async with holder.kept_current():
            assert holder.trouble is None
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute(change.encode())
            await holder.refresh()
            assert holder.trouble
            assert (await holder.find(known)).role == "staff"

    asyncio.run(look_twice())


def test_no_caller_waits_long_for_a_server_that_has_fallen_silent(database_url: str) -> None:
    known = new_key(database_url, "staff")

    async def ask() -> None:
        holder = KeyHolder(database_url)
        async with holder.kept_current():
            with psycopg.connect(database_url) as connection:
                query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'orders keys' AND datname = %s"
                ((pid,),) = connection.execute(query, (connection.info.dbname,)).fetchall()
            os.kill(pid, signal.SIGSTOP)
            try:
                async with asyncio.timeout(READ_SECONDS_MAX + 3):
                    with pytest.raises(Problem, match="no such API key"):
                        await holder.find(keys.make().text)
                    assert (await holder.find(known)).role == "staff"
                assert holder.trouble
            finally:
                os.kill(pid, signal.SIGCONT)
            await holder.refresh()
            assert holder.trouble is None

    asyncio.run(ask())


def test_a_new_key_works_in_the_same_tick_of_the_loops_clock_as_a_look_at_the_keys(database_url: str) -> None:
    """The time of uvloop is in milliseconds: a request may come in the same one, behind the look."""

    async def use_it() -> None:
        loop, precise = asyncio.get_running_loop(), time.monotonic
        loop.time = lambda: float(int(precise()))  # type: ignore[method-assign] # a clock of whole seconds
        holder = KeyHolder(database_url)
        async with holder.kept_current():
            await asyncio.sleep(0.1)  # until the clock has moved
            await holder.refresh()
            made = await create(database_url, Wanted("app", "staff"), {"kind": "cli", "id": "0"})
            assert (await holder.find(made.text)).subject == made.row.id

    asyncio.run(use_it())


def test_only_a_key_that_can_be_used_counts_as_one(database_url: str) -> None:
    new_key(database_url, "operator")
    with psycopg.connect(database_url) as connection:
        assert store.has_any(connection)
        connection.execute("UPDATE access.api_keys SET expires_at = now() - interval '1 minute'")
        assert not store.has_any(connection)
        connection.execute("UPDATE access.api_keys SET expires_at = NULL, revoked_at = now()")
        assert not store.has_any(connection)


def denied() -> contextlib.AbstractContextManager[object]:
    return pytest.raises(psycopg.errors.InsufficientPrivilege)


def test_the_role_that_appends_gives_no_key_another_right(database_url: str) -> None:
    new_key(database_url, "operator")
    may = {"expires_at", "revoked_at", "replaced_by", "last_used_hour"}
    with psycopg.connect(database_url) as connection:
        connection.execute("SET ROLE orders_writer")
        for column in [column.name for column in api_keys.columns]:
            update = f"UPDATE access.api_keys SET {column} = {column}".encode()
            with contextlib.nullcontext() if column in may else denied(), connection.transaction():
                connection.execute(update)
        for statement in (b"DELETE FROM access.api_keys", b"TRUNCATE access.api_keys"):
            with denied(), connection.transaction():
                connection.execute(statement)


def test_the_use_of_a_key_is_written_once_an_hour(database_url: str) -> None:
    with guarded(database_url) as shop:
        written = set()
        for _ in range(5):
            assert shop.get("/products").status_code == 200
            shop.get("/keys").raise_for_status()  # writes down what was used, and reads it
            written |= set(shop.rows("SELECT last_used_hour, xmin::text FROM access.api_keys"))
        hours = [hour for hour, _ in written]
        assert len(hours) == len(set(hours)), "a new version of the row for each hour"
        assert all(hour.minute == hour.second == 0 for hour in hours)


def test_the_document_lists_every_role_and_scope_of_a_new_key(module_database_url: str) -> None:
    with guarded(module_database_url) as shop:
        fields = shop.get("/openapi.json").json()["components"]["schemas"]["CreateKeyBody"]["properties"]
    assert fields["role"]["enum"] == list(ROLES)
    assert fields["scopes"]["items"]["enum"] == list(SCOPES)
