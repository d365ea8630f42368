"""What is said of a projection, from its checkpoint and the log's head."""

from datetime import UTC, datetime, timedelta

import pytest

from projector.projections.shop import SHOP
from projector.status import Building, Standing

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def standing(**changes: object) -> Standing:
    """A projection at the head of the log, that a worker has just looked at."""
    return Standing(SHOP, SHOP.version, 7, 7, None, NOW, NOW, "host:1", None, 0, None, NOW, False)._replace(**changes)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_a_projection_that_keeps_up_is_live() -> None:
    it = standing()
    assert (it.state, it.lag_events, it.lag_ms, it.progress, it.trouble) == ("live", 0, 0, None, None)


@pytest.mark.parametrize(("seconds", "state"), [(0.2, "live"), (3, "catching_up")])
def test_lag_is_counted_from_the_first_event_that_waits(seconds: float, state: str) -> None:
    it = standing(head=9, waiting_since=ago(seconds))
    assert (it.lag_events, it.lag_ms, it.state) == (2, seconds * 1_000, state)


def test_an_event_from_the_future_is_a_lag_since_the_projection_last_moved() -> None:
    """A clock that leapt ahead once leaves its date in the log, and must not hide a projection that stands still."""
    it = standing(head=9, waiting_since=NOW + timedelta(days=1), updated_at=ago(7))
    assert (it.lag_ms, it.state, it.trouble) == (7_000, "catching_up", "2 events behind the log's head")


def test_a_worker_that_was_not_seen_for_ten_seconds_has_stopped() -> None:
    assert standing(seen_at=ago(8)).state == "live"
    assert standing(seen_at=ago(8)).trouble == "no worker has looked at the log for 8 s; the last was host:1"
    assert standing(seen_at=ago(11)).state == "stopped"
    assert "clock was set back" in (standing(seen_at=NOW + timedelta(seconds=60), worker=None).trouble or "")


def test_the_last_error_is_the_trouble() -> None:
    assert standing(error="DiskFull: no space left").trouble == "DiskFull: no space left"


@pytest.mark.parametrize("version", [0, SHOP.version])
def test_postgresqls_own_text_is_for_operators_alone(version: int) -> None:
    raw = 'OperationalError: connection failed: FATAL: password authentication failed for user "orders" on 10.1.2.3'
    it = standing(error=raw, version=version)
    assert raw in str(it.trouble)
    assert "its last batch failed in the database: the worker's log" in str(it.public_trouble)
    assert "10.1.2.3" not in str(it.public_trouble)
    ours = standing(error="AheadOfLog: shop is at position 9")
    assert ours.public_trouble == ours.trouble == "AheadOfLog: shop is at position 9"
    assert standing().public_trouble is None


def test_tables_of_an_older_version_are_outdated_until_they_are_rebuilt() -> None:
    it = standing(version=0, events_per_second=1, head=20)
    assert (it.state, it.progress) == ("outdated", None)
    assert it.outdated == (
        f"its tables are of version 0, this release needs {SHOP.version}: `orders replay shop` rebuilds them "
        "(about 20 s), and so does a worker of this release, unless REBUILD=manual"
    )
    built = Building(5, ago(10), NOW)
    it = standing(version=0, building=True, built=built, head=20)
    assert (it.state, it.progress) == ("rebuilding", 0.25)
    assert it.trouble == f"its tables are of version 0, this release needs {SHOP.version}: rebuilding, 25%, 30 s left"


def test_tables_of_a_newer_version_need_the_newer_release() -> None:
    told = f"its tables are of version {SHOP.version + 1}, this release has {SHOP.version}: run the newer release"
    assert standing(version=SHOP.version + 1).outdated == told


def test_a_replay_of_current_tables_is_no_trouble() -> None:
    it = standing(building=True, built=Building(0, NOW, NOW))
    assert (it.state, it.progress, it.trouble) == ("rebuilding", 0, None)
