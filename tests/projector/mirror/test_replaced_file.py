"""A mirror in SQLite whose file is removed or replaced while it is at work."""

import threading
from pathlib import Path

import pytest
from psycopg import Connection

from projector.mirror.following import Mirror
from projector.mirror.standings import standings
from projector.mirror.target import Unsuitable
from projector.mirror.targets import target_of
from projector.projections.shop import SHOP
from tests.builders import Writing, wait_until

SECONDS_MAX = 30


def is_at_work(connection: Connection) -> bool:
    return [(it.lag_events, it.state) for it in standings(connection, [SHOP])] == [(0, "live")]


def test_a_mirror_does_not_go_on_in_a_file_that_was_replaced(
    writing: Writing, database_url: str, other: Connection, tmp_path: Path
) -> None:
    path = tmp_path / "app.db"
    mirror = Mirror(database_url, target_of(f"sqlite:///{path}"), [SHOP])

    def replace() -> None:
        wait_until(lambda: is_at_work(other), SECONDS_MAX, "it has caught up")
        path.rename(tmp_path / "moved.db")
        path.touch()

    writing.history()
    thread = threading.Thread(target=replace)
    thread.start()
    stopping = threading.Timer(SECONDS_MAX, mirror.stop)
    stopping.start()
    with pytest.raises(Unsuitable, match="was removed or replaced"):
        mirror.follow()
    stopping.cancel()
    thread.join(SECONDS_MAX)
    assert [it.state for it in standings(other, [SHOP])] == ["stopped"]
