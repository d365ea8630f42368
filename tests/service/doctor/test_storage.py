"""What the doctor says of dead rows, vacuum, indexes and the disk; and its commands for psql."""

import os
import subprocess
import time

import psycopg
import pytest

from service.doctor import storage
from service.embedded import postgres_program
from service.health.holders import HELD_SECONDS_MIN
from tests.served import served
from tests.service.doctor.examining import findings, run, statements

DEAD_ROWS = 11_000


def test_an_invalid_index_is_a_finding_with_the_statement_that_rebuilds_it(database_url: str) -> None:
    run(
        database_url,
        "CREATE INDEX broken ON shop.users (name)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'shop.broken'::regclass",
    )
    (found,) = findings(database_url, "indexes")
    assert "shop.broken is invalid" in found.what
    run(database_url, *statements(found.remedy))
    assert findings(database_url, "indexes") == []


def test_dead_rows_of_the_head_are_a_finding(database_url: str) -> None:
    update = "UPDATE log.head SET recorded_at = recorded_at"
    run(
        database_url,
        "ALTER TABLE log.head SET (autovacuum_enabled = off)",
        f"DO $$ BEGIN FOR n IN 1..{DEAD_ROWS} LOOP {update}; END LOOP; END $$",
        "ANALYZE log.head",
    )
    (found,) = findings(database_url, "dead rows")
    assert "dead row versions" in found.what
    assert statements(found.remedy) == ["VACUUM log.head"]


def test_a_table_that_no_vacuum_cleans_is_a_finding(database_url: str) -> None:
    run(
        database_url,
        "CREATE TABLE shop.rows (n integer) WITH (autovacuum_enabled = off)",
        f"INSERT INTO shop.rows SELECT generate_series(1, {DEAD_ROWS})",
        "DELETE FROM shop.rows",
        "ANALYZE shop.rows",
    )
    (found,) = findings(database_url, "vacuum")
    assert found.what.startswith(f"autovacuum is late on shop.rows: {DEAD_ROWS:,} dead rows")
    assert statements(found.remedy) == ["VACUUM shop.rows"]


def test_a_large_index_of_others_that_nothing_uses_is_a_finding(database_url: str) -> None:
    run(database_url, "SELECT pg_stat_reset()", "CREATE INDEX of_others ON shop.users (name)")
    with psycopg.connect(database_url, autocommit=True) as connection:
        (found,) = storage.unused_indexes(connection, days=0, bytes_min=0)
    assert "shop.of_others on shop.users is not of this release" in found.what
    (drop,) = statements(found.remedy)
    assert drop == "DROP INDEX CONCURRENTLY shop.of_others"
    assert found.since is not None
    run(database_url, drop)
    assert findings(database_url, "indexes") == []


def test_a_young_log_says_nothing_about_growth(database_url: str) -> None:
    with served(database_url) as shop:
        shop.order()
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert list(storage.disk_findings(connection, "/data", storage.FREE_BYTES_MIN)) == []
        assert list(storage.disk_findings(connection, "/data", storage.FREE_BYTES_MIN - 1)) != []


def test_the_doctor_calls_a_full_disk_full_and_says_which_files_may_be_deleted(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        (full,) = storage.disk_findings(connection, "/data/postgres", 0)
        (nearly,) = storage.disk_findings(connection, "/data/postgres", 40 * 1024**2)
    assert full.what == "the disk of /data/postgres is full"
    assert nearly.what == "the disk of /data/postgres has 40 MiB free"
    assert "old backups, core dumps and files of other programs may go" in full.remedy
    assert "delete nothing in /data/postgres;" in full.remedy


def test_a_disk_that_is_full_soon_is_a_finding_with_the_days_left(database_url: str) -> None:
    with served(database_url) as shop:
        shop.order()
    room = 1024**4
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "ALTER TABLE log.events DISABLE TRIGGER USER; "
            "UPDATE log.events SET recorded_at = now() - interval '2 days' + position * interval '1 hour'"
        )
        assert list(storage.disk_findings(connection, "/data", room)) == []
        (found,) = storage.disk_findings(connection, "/data", 30 * 1024**2)
        assert found.what.startswith("the disk of /data has 30 MiB free; at the growth of the last 7 days that lasts ")
        # All events, with the whole database, came in less than two days.
        ((size,),) = connection.execute("SELECT pg_database_size(current_database())").fetchall()
        lasts = float(found.what.rpartition("lasts ")[2].removesuffix(" days"))
        assert lasts == pytest.approx(30 * 1024**2 / size * 47 / 24, abs=0.1)


def test_a_command_of_psql_can_be_pasted_into_a_shell_that_knows_no_database(database_url: str) -> None:
    with psycopg.connect(database_url) as session:
        session.execute("SELECT FROM log.head FOR UPDATE")
        time.sleep(HELD_SECONDS_MIN + 0.2)
        (found,) = findings(database_url, "in the way")
        command = found.remedy.split("`")[1]
        path = f"{postgres_program('psql').parent}:{os.defpath}"
        done = subprocess.run(["bash", "-c", command], env={"PATH": path}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        with pytest.raises(psycopg.OperationalError, match="terminat"):
            session.execute("SELECT 1")
