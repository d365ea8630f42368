"""A rehearsal writes to every table that a command writes to, and leaves nothing behind."""

import psycopg
import pytest

from eventlog import connecting
from eventlog.rehearsal import rehearse

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("table", ["events", "claims", "snapshots", "idempotency_keys"])
async def test_a_rehearsal_fails_when_a_table_takes_no_rows(table: str, database_url: str) -> None:
    with psycopg.connect(database_url) as admin:
        admin.execute(f"ALTER TABLE log.{table} ADD CONSTRAINT house_rule CHECK (false) NOT VALID".encode())
    with pytest.raises(psycopg.errors.CheckViolation):
        await rehearsed(database_url)


async def test_a_rehearsal_fails_when_no_claim_may_be_released(database_url: str) -> None:
    with psycopg.connect(database_url) as admin:
        admin.execute("""
            CREATE FUNCTION public.kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'kept'; END $$;
            CREATE TRIGGER kept BEFORE DELETE ON log.claims FOR EACH STATEMENT EXECUTE FUNCTION public.kept()
        """)
    with pytest.raises(psycopg.errors.RaiseException, match="kept"):
        await rehearsed(database_url)


async def test_a_rehearsal_leaves_the_log_as_it_was(database_url: str) -> None:
    await rehearsed(database_url)
    with psycopg.connect(database_url) as admin:
        assert admin.execute("SELECT position FROM log.head").fetchall() == [(0,)]
        for table in ("events", "claims", "snapshots", "idempotency_keys"):
            assert admin.execute(f"SELECT FROM log.{table}".encode()).rowcount == 0


async def rehearsed(database_url: str) -> None:
    connection = await connecting.connect(database_url)
    try:
        await rehearse(connection)
    finally:
        await connection.close()
