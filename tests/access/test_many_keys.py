"""Any number of API keys: what a process holds of them, and what a list of them reads."""

import asyncio
import tracemalloc

import psycopg
import pytest

from access import keys, store
from access.holder import KEYS_MAX, KeyHolder
from access.issuing import Wanted, create, revoke
from access.roles import ROLES
from contract.problems import Problem
from tests.access.keyed import OTHER_SESSIONS
from tests.builders import wait_until

MANY_KEYS = """
INSERT INTO access.api_keys (id, account, name, sha256, role, scopes, created_by)
SELECT number, number, 'till', sha256(number::text::bytea), 'staff', %s, 'cli 0' FROM generate_series(1, %s) AS number
"""


def test_any_number_of_keys_takes_little_memory_and_each_works_until_it_is_revoked(database_url: str) -> None:
    async def use_them() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(MANY_KEYS.encode(), (sorted(ROLES["staff"]), 4 * KEYS_MAX))
            made = [await create(database_url, Wanted("app", "staff"), {"kind": "cli", "id": "0"}) for _ in range(3)]
            revoked, kept, unseen = made
            holder = KeyHolder(database_url)
            async with holder.kept_current():
                for it in (revoked, kept, revoked):
                    assert (await holder.find(it.text)).subject == it.row.id
                with pytest.raises(Problem, match="no such API key"):
                    await holder.find(keys.make().text)
                await revoke(database_url, revoked.row.id, None, {"kind": "cli", "id": "0"})
                await holder.refresh()
                with pytest.raises(Problem, match="was revoked"):
                    await holder.find(revoked.text)
                connection.execute("ALTER TABLE access.api_keys RENAME TO gone")
                assert (await holder.find(kept.text)).subject == kept.row.id
                with pytest.raises(Problem, match="could not be looked for") as refused:
                    await holder.find(unseen.text)
                assert refused.value.status_code == 503

    tracemalloc.start()
    try:
        asyncio.run(use_them())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 15_000_000


def test_a_page_of_many_keys_reads_no_others(database_url: str) -> None:
    """Else the first uses of other keys would wait for a list of them."""
    limit = 100

    async def walk(pages: int) -> list[str]:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            found = await store.page(connection, None, limit)
            for _ in range(pages - 1):
                found += await store.page(connection, found[-1].id, limit)
        return [it.id for it in found]

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(MANY_KEYS.encode(), (sorted(ROLES["staff"]), 20_000))
        connection.execute(
            "UPDATE access.api_keys SET created_at = timestamptz '2026-01-01Z' - id::int * interval '1 s'"
        )
        connection.execute("VACUUM ANALYZE access.api_keys")
        before = _keys_read(connection)
        assert asyncio.run(walk(pages=3)) == [str(20_000 - it) for it in range(3 * limit)]
        wait_until(lambda: not connection.execute(OTHER_SESSIONS).fetchall(), 20, "the end of the reading session")
        assert _keys_read(connection) - before < 4 * limit


def _keys_read(connection: psycopg.Connection) -> int:
    ((number,),) = connection.execute(
        "SELECT coalesce(idx_tup_fetch, 0) + coalesce(seq_tup_read, 0) FROM pg_stat_user_tables "
        "WHERE relid = 'access.api_keys'::regclass"
    ).fetchall()
    return int(number)


def test_a_process_forgets_the_keys_that_were_used_longest_ago(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away, a key that is not in memory cannot be looked for."""
    monkeypatch.setattr("access.holder.KEYS_MAX", 2)

    async def use_them() -> None:
        holder = KeyHolder(database_url)
        first, second, third = [
            await create(database_url, Wanted("app", "staff"), {"kind": "cli", "id": "0"}) for _ in range(3)
        ]
        async with holder.kept_current():
            for it in (first, second, first, third):
                assert (await holder.find(it.text)).subject == it.row.id
            with psycopg.connect(database_url) as connection:
                connection.execute("ALTER TABLE access.api_keys RENAME TO gone")
            for it in (first, third):
                assert (await holder.find(it.text)).subject == it.row.id
            with pytest.raises(Problem, match="could not be looked for"):
                await holder.find(second.text)

    asyncio.run(use_them())
