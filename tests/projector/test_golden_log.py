"""A log of an earlier version gives the same read tables for ever, and accepts new events."""

import psycopg
import pytest

from eventlog.events import NOT_PROJECTED, SCHEMA_VERSIONS
from projector.connecting import connect
from projector.loop import Loop
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.verify import verify
from tests.builders import Writing
from tests.projector import golden_log
from tests.projector.golden_log import Tables, load, recorded, stored, stored_tables, tables


def assert_holds(found: Tables, wanted: Tables) -> None:
    """Every row and every column that was recorded; a column that is newer than the record has nothing to compare."""
    for table, rows in wanted.items():
        columns = rows[0].keys()
        assert [{name: row.get(name) for name in columns} for row in found[table]] == rows, table


@pytest.mark.parametrize("number", recorded())
def test_a_golden_log_is_replayed_to_the_recorded_tables(number: int, database_url: str) -> None:
    with connect(database_url) as connection:
        load(connection, number)
        replay(database_url, SHOP, lambda _: None)
        assert_holds(tables(connection), stored_tables(number))


@pytest.mark.parametrize("number", recorded())
def test_a_golden_log_is_projected_to_the_recorded_tables(number: int, database_url: str) -> None:
    with connect(database_url) as connection:
        load(connection, number)
        projecting = Loop(SHOP)
        while projecting.project(connection, 7).events:
            pass
        assert_holds(tables(connection), stored_tables(number))


@pytest.mark.parametrize("number", recorded())
def test_a_golden_log_can_be_written_on(number: int, database_url: str) -> None:
    """The write side folds the same old events, and nothing of them contradicts its rules."""
    before = stored_tables(number)
    with connect(database_url) as connection:
        load(connection, number)
    with Writing(database_url) as writing:
        for order in before["orders"]:
            answer = writing.cancel(order["id"])
            assert answer.version == order["version"] + (order["status"] != "cancelled")
        for product in before["products"]:
            if product["stock"] and not product["discontinued"]:
                writing.adjust_stock(product["id"], -product["stock"])
        for user in before["users"]:
            if user["deleted_at"] is None:
                writing.change_user(user["id"], "Renamed", user["email"])
    replay(database_url, SHOP, lambda _: None)
    assert verify(database_url, SHOP, lambda _: None).differences == []
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT DISTINCT status FROM shop.orders").fetchall() == [("cancelled",)]


def test_every_version_of_every_event_is_in_a_golden_log() -> None:
    """Red? A new event or version is there: record another log (see golden_log.py)."""
    written = {
        (cls.__name__, version)
        for cls, last in SCHEMA_VERSIONS.items()
        for version in range(1, last + 1)
        if cls not in NOT_PROJECTED
    }
    assert written == {(event.type, event.schema_version) for number in recorded() for event in stored(number)}


def test_a_recorded_golden_log_is_never_overwritten(database_url: str) -> None:
    with pytest.raises(FileExistsError):
        golden_log.record(recorded()[0], database_url)
