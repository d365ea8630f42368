"""What the doctor says of projections that do not follow the log, and of tables that decay."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from projector.projections.shop import SHOP
from service.doctor import examine
from service.doctor.finding import Finding
from tests.projecting import sweep
from tests.projector.mirror.mirroring import catch_up
from tests.served import Shop, served

DEAD_ROWS = 11_000


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    with served(database_url) as shop:
        yield shop


def findings(url: str, check: str) -> list[Finding]:
    with psycopg.connect(url, autocommit=True) as connection:
        return list(examine(connection).findings[check])


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_database_without_a_worker_so_far_is_no_finding(shop: Shop) -> None:
    shop.user()
    assert findings(shop.database_url, "projections") == []


def test_a_worker_that_is_gone_while_events_wait_is_a_finding_with_its_remedy(shop: Shop) -> None:
    sweep(shop.database_url)
    shop.user()
    run(shop.database_url, "UPDATE shop.checkpoint SET seen_at = now() - interval '42 s', worker = 'shop-7:123'")
    (found,) = [it for it in findings(shop.database_url, "projections") if "for shop" in it.what]
    assert found.what.startswith("1 events wait for shop, and no worker has looked for 4")
    assert found.what.endswith("the last was shop-7:123")
    assert found.remedy == "start a worker: orders work"


def test_the_error_of_the_last_batch_and_tables_of_another_release_are_findings(shop: Shop) -> None:
    sweep(shop.database_url)
    run(
        shop.database_url,
        "UPDATE shop.checkpoint SET error = 'event 7: unknown'",
        "UPDATE sales.checkpoint SET version = 0",
    )
    found = {it.what: it.remedy for it in findings(shop.database_url, "projections")}
    assert found["the last batch of shop failed: event 7: unknown"] == "orders status names who blocks it"
    assert "start a worker of this release, or: orders replay sales" in found.values()


def test_a_mirror_that_stopped_is_a_finding_and_one_that_ended_in_order_is_none(shop: Shop, tmp_path: Path) -> None:
    shop.user()
    catch_up(shop.database_url, f"sqlite:///{tmp_path / 'app.db'}", [SHOP])
    run(shop.database_url, "UPDATE mirrors.standings SET seen_at = now() - interval '1 hour'")
    assert findings(shop.database_url, "mirrors") == []
    run(shop.database_url, "UPDATE mirrors.standings SET ended_at = NULL, parked = 2")
    stopped, parked = findings(shop.database_url, "mirrors")
    assert f"{tmp_path / 'app.db'} has stopped: no mirror has looked at the log for 3" in stopped.what
    assert "orders mirror URL --forget" in stopped.remedy
    assert parked.what.endswith("holds 2 streams back")


def test_an_invalid_index_is_a_finding_with_the_statement_that_rebuilds_it(shop: Shop) -> None:
    run(
        shop.database_url,
        "CREATE INDEX broken ON shop.users (name)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'shop.broken'::regclass",
    )
    (found,) = findings(shop.database_url, "tables")
    assert "shop.broken is invalid" in found.what
    run(shop.database_url, found.remedy)
    assert findings(shop.database_url, "tables") == []


def test_dead_rows_of_the_head_are_a_finding(shop: Shop) -> None:
    update = "UPDATE log.head SET recorded_at = recorded_at"
    run(
        shop.database_url,
        "ALTER TABLE log.head SET (autovacuum_enabled = off)",
        f"DO $$ BEGIN FOR n IN 1..{DEAD_ROWS} LOOP {update}; END LOOP; END $$",
        "ANALYZE log.head",
    )
    (found,) = findings(shop.database_url, "tables")
    assert "dead row versions" in found.what
    assert found.remedy.endswith("VACUUM log.head")
