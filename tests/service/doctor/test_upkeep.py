"""What the doctor says of projections that do not follow the log, and of tables that were not verified."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from projector.connecting import connect
from projector.parked import groups
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.verify import verify
from service.doctor import upkeep
from service.projections import PROJECTIONS
from tests.builders import append_parked_user
from tests.projecting import sweep
from tests.projector.mirror.mirroring import catch_up
from tests.served import Shop, served
from tests.service.doctor.examining import findings, run


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    with served(database_url) as shop:
        yield shop


def test_that_no_worker_has_ever_looked_is_a_finding(shop: Shop) -> None:
    shop.user()
    run(
        shop.database_url, *(f"UPDATE {it.name}.checkpoint SET seen_at = now() - interval '11 s'" for it in PROJECTIONS)
    )
    (found,) = findings(shop.database_url, "projections")
    assert found.what == "1 event waits for shop, sales, activity, and no worker has looked at the log yet"
    assert found.remedy == "start a worker: orders work"


def test_a_worker_that_is_gone_while_events_wait_is_a_finding_with_its_remedy(shop: Shop) -> None:
    sweep(shop.database_url)
    shop.user()
    run(shop.database_url, "UPDATE shop.checkpoint SET seen_at = now() - interval '42 s', worker = 'shop-7:123'")
    (found,) = findings(shop.database_url, "projections")
    assert found.what.startswith("1 event waits for shop, and no worker has looked at the log for 4")
    assert found.what.endswith("the last was shop-7:123")
    assert found.remedy == "start a worker: orders work"
    # One worker drives all of them, so one finding is enough.
    run(shop.database_url, "UPDATE sales.checkpoint SET seen_at = now() - interval '43 s', worker = 'shop-7:123'")
    (found,) = findings(shop.database_url, "projections")
    assert found.what.startswith("1 event waits for shop, sales, and no worker")


def test_a_worker_that_is_gone_is_a_finding_although_no_event_waits(shop: Shop) -> None:
    sweep(shop.database_url)
    for name in ("shop", "sales", "activity"):
        run(shop.database_url, f"UPDATE {name}.checkpoint SET seen_at = now() - interval '16 s', worker = 'shop-7:123'")
    (found,) = findings(shop.database_url, "projections")
    assert found.what.startswith("no worker has looked at the log for 1")
    assert found.what.endswith(" s; the last was shop-7:123")
    assert found.remedy == "start a worker: orders work"
    for name in ("shop", "sales", "activity"):
        run(shop.database_url, f"UPDATE {name}.checkpoint SET seen_at = now() + interval '1 hour'")
    (found,) = findings(shop.database_url, "projections")
    assert found.what.startswith("no worker has looked at the log since the clock was set back")


def test_parked_streams_have_their_own_reason_why_they_matter(shop: Shop) -> None:
    append_parked_user(shop.database_url)
    sweep(shop.database_url)
    assert findings(shop.database_url, "projections") == []
    (found,) = findings(shop.database_url, "parked")
    assert found.what.startswith("1 stream of shop is parked at ")
    (check,) = [it for it in upkeep.CHECKS if it.name == "parked"]
    assert "all other streams go on" in check.why


def test_the_error_of_the_last_batch_and_tables_of_another_release_are_findings(shop: Shop) -> None:
    sweep(shop.database_url)
    run(
        shop.database_url,
        "UPDATE shop.checkpoint SET error = 'RaiseException: a trigger says no'",
        "UPDATE activity.checkpoint SET error = 'LockNotAvailable: canceling statement due to lock timeout'",
        "UPDATE sales.checkpoint SET version = 0",
    )
    found = {it.what: it.remedy for it in findings(shop.database_url, "projections")}
    assert "mend what the error names" in found["the last batch of shop failed: RaiseException: a trigger says no"]
    (waited,) = [remedy for what, remedy in found.items() if what.startswith("the last batch of activity failed")]
    assert "end the session that `orders status` shows as in the way" in waited
    assert "orders replay sales" in found.values()
    # A replay would build the tables of this release, and the newer one would refuse them.
    run(shop.database_url, "UPDATE sales.checkpoint SET version = 99")
    assert "deploy the newer release again" in [it.remedy for it in findings(shop.database_url, "projections")]


def test_an_import_that_stands_still_is_a_finding_until_it_is_run_again(database_url: str) -> None:
    begin = "INSERT INTO operations.imports (id, path, bytes_total, accepted, progressed_at, finished_at, error) VALUES"
    ago, ids = "now() - interval '4 min'", [f"01890a5d-ac96-774b-bcce-b3020000000{number}" for number in range(5)]
    run(database_url, f"{begin} ('{ids[0]}', 'shop/', 9, 1234, now(), NULL, NULL)")
    assert findings(database_url, "imports") == []
    # The clock of PostgreSQL's machine was set back since.
    run(database_url, "UPDATE operations.imports SET progressed_at = now() + interval '1 hour'")
    assert len(findings(database_url, "imports")) == 1
    run(database_url, f"UPDATE operations.imports SET progressed_at = {ago}")
    (found,) = findings(database_url, "imports")
    assert "the import of shop/ has not ended, and does no rows any more; 1,234 are done" in found.what
    assert found.since
    run(database_url, f"{begin} ('{ids[1]}', 'shop/', 9, 7, {ago}, {ago}, 'the database does not answer')")
    (found,) = findings(database_url, "imports")
    assert "stopped after 7 rows: the database does not answer" in found.what
    run(database_url, f"{begin} ('{ids[2]}', 'shop/', 9, 9, {ago}, {ago}, NULL)")
    assert findings(database_url, "imports") == []


def test_a_parked_stream_is_a_finding_with_its_cause_and_the_commands(shop: Shop) -> None:
    append_parked_user(shop.database_url)
    sweep(shop.database_url)
    (found,) = findings(shop.database_url, "parked")
    assert found.what == ("1 stream of shop is parked at UserMerged: UserMerged version 1 is not known to this release")
    with connect(shop.database_url) as connection:
        (group,) = groups(connection, [SHOP])
    assert f"`orders parked retry --group {group.name}`; " in found.remedy
    assert found.remedy.endswith(f"`orders parked skip --group {group.name} --reason WHY`")
    assert found.since


def test_the_mirrors_of_one_database_that_stopped_are_one_finding(shop: Shop, tmp_path: Path) -> None:
    shop.user()
    catch_up(shop.database_url, f"sqlite:///{tmp_path / 'app.db'}")
    run(shop.database_url, "UPDATE mirrors.standings SET seen_at = now() - interval '1 hour', ended_at = NULL")
    (found,) = findings(shop.database_url, "mirrors")
    assert found.what.startswith("the mirror of activity, sales, shop in sqlite://")
    listed = f"sqlite://{socket.gethostname()}{tmp_path / 'app.db'}"
    assert found.remedy.startswith(f"start it again: `orders mirror {listed}`; ")
    # It was killed while it rebuilt, and the clock of PostgreSQL's machine was set back since.
    run(shop.database_url, "UPDATE mirrors.standings SET seen_at = now() + interval '1 hour', rebuilt_to = 0")
    (found,) = findings(shop.database_url, "mirrors")
    assert "no mirror has looked at the log since the clock was set back" in found.what
    run(
        shop.database_url,
        "UPDATE mirrors.standings SET error = 'it is full' WHERE projection = 'shop'",
    )
    assert len(findings(shop.database_url, "mirrors")) == 2


def test_a_mirror_that_stopped_is_a_finding_and_one_that_ended_in_order_is_none(shop: Shop, tmp_path: Path) -> None:
    shop.user()
    catch_up(shop.database_url, f"sqlite:///{tmp_path / 'app.db'}", [SHOP])
    run(shop.database_url, "UPDATE mirrors.standings SET seen_at = now() - interval '1 hour'")
    assert findings(shop.database_url, "mirrors") == []
    run(shop.database_url, "UPDATE mirrors.standings SET ended_at = NULL, parked = 2")
    stopped, parked = findings(shop.database_url, "mirrors")
    assert f"{tmp_path / 'app.db'} has stopped: no mirror has looked at the log for 3" in stopped.what
    listed = f"sqlite://{socket.gethostname()}{tmp_path / 'app.db'}"
    command = f"orders mirror {listed} -p shop"
    assert stopped.remedy == f"start it again: `{command}`; if it is no longer needed: `{command} --forget`"
    catch_up(shop.database_url, listed, [SHOP])
    assert parked.what.endswith("holds 2 streams back")


def test_a_projection_that_fails_because_the_disk_is_full_says_so(shop: Shop) -> None:
    sweep(shop.database_url)
    run(shop.database_url, "UPDATE shop.checkpoint SET error = 'DiskFull: could not extend file: No space left'")
    (found,) = findings(shop.database_url, "projections")
    assert found.remedy.startswith("make room on the disk of PostgreSQL")


def test_a_projection_that_lags_is_a_finding_since_its_first_event(shop: Shop) -> None:
    sweep(shop.database_url)
    shop.user()
    run(
        shop.database_url,
        "SET session_replication_role = replica; ALTER TABLE log.events DISABLE TRIGGER USER; "
        "UPDATE log.events SET recorded_at = now() - interval '50 s'",
        "UPDATE shop.checkpoint SET seen_at = now()",
    )
    (found,) = [
        it for it in findings(shop.database_url, "projections") if it.what.startswith("shop is 1 events behind")
    ]
    ((recorded_at,),) = shop.rows("SELECT recorded_at FROM log.events WHERE position = 1")
    assert found.since == recorded_at


def test_an_old_log_that_was_never_verified_is_a_finding_until_it_is(shop: Shop) -> None:
    shop.user()
    assert findings(shop.database_url, "verified") == []
    run(
        shop.database_url,
        "ALTER TABLE log.events DISABLE TRIGGER USER; UPDATE log.events SET recorded_at = now() - interval '8 days'",
    )
    sweep(shop.database_url)
    found = findings(shop.database_url, "verified")
    assert [it.what for it in found] == [f"{it.name} was not verified yet" for it in PROJECTIONS]
    for projection in PROJECTIONS:
        verify(shop.database_url, projection, lambda _: None)
    assert findings(shop.database_url, "verified") == []
    run(shop.database_url, "UPDATE log.verifications SET verified_at = now() - interval '8 days'")
    assert "shop was not verified for 7 days" in [it.what for it in findings(shop.database_url, "verified")]


def test_differences_are_a_finding_until_the_tables_are_built_anew(shop: Shop) -> None:
    shop.product()
    sweep(shop.database_url)
    run(shop.database_url, "UPDATE shop.products SET stock = 999")
    verify(shop.database_url, SHOP, lambda _: None)
    (found,) = findings(shop.database_url, "verified")
    assert found.what.startswith("the last verify of shop found 1 difference between")
    assert found.remedy.endswith("orders replay shop makes them anew from the log")
    replay(shop.database_url, SHOP, lambda _: None)
    assert findings(shop.database_url, "verified") == []
