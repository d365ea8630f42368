"""A mirror at work: it follows, is listed, lets no second one work beside it, and parks bad events for itself."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg import Connection, sql
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bench import mariadb as programs
from bench.mariadb import MariaDbServer
from eventlog.codec import encode
from eventlog.events import ProductAdded, UserRegistered
from eventlog.ids import new_id
from projector.checkpoint import OtherVersion
from projector.connecting import connect
from projector.loop import Loop, Progress
from projector.mirror.building import MirrorTables
from projector.mirror.following import Mirror
from projector.mirror.standings import standings
from projector.mirror.target import Unsuitable
from projector.mirror.targets import target_of
from projector.mirror.writer import MirrorWriter, OtherLog
from projector.paging import PageMax
from projector.parked import held_back
from projector.projection import Projection
from projector.projections.shop import SHOP
from service.projections import PROJECTIONS
from tests.builders import Writing, append_events, new_event, wait_until
from tests.projecting import sweep
from tests.projector.mirror.mirroring import catch_up, differences, have_caught_up, reading, rebuild, rows

SECONDS_MAX = 30
RETRYING_SECONDS = 5  # a mirror that retries looks about once a second


@contextmanager
def following(database_url: str, target_url: str, projections: Sequence[Projection] = PROJECTIONS) -> Iterator[Mirror]:
    """A mirror that follows the log on a thread of its own."""
    mirror = Mirror(database_url, target_of(target_url), projections)
    thread = threading.Thread(target=mirror.follow)
    thread.start()
    try:
        yield mirror
    finally:
        mirror.stop()
        thread.join(SECONDS_MAX)
        assert not thread.is_alive()


def position_of(connection: Connection, name: str) -> int:
    """Where the listed mirror of a projection is; -1 when there is none."""
    return next((it.position for it in standings(connection, PROJECTIONS) if it.name == name), -1)


def head(connection: Connection) -> int:
    row = connection.execute("SELECT position FROM log.head").fetchone()
    assert row is not None
    found: int = row[0]
    return found


def test_a_mirror_follows_the_log_and_is_listed(
    writing: Writing, database_url: str, other: Connection, target_url: str
) -> None:
    writing.history(1)
    with following(database_url, target_url):
        wait_until(lambda: have_caught_up(other), SECONDS_MAX, "it has caught up")
        writing.history(2)
        wait_until(lambda: have_caught_up(other), SECONDS_MAX, "it has caught up again")
        found = standings(other, PROJECTIONS)
    assert [it.name for it in found] == ["activity", "sales", "shop"]
    assert {(it.state, it.lag_events, it.parked, it.error) for it in found} == {("live", 0, 0, None)}
    assert all(it.mirror is not None and "secret" not in it.mirror for it in found)
    assert not differences(database_url, target_url)


def test_a_mirror_at_work_notices_that_its_tables_were_restored(
    writing: Writing, database_url: str, other: Connection, target_url: str
) -> None:
    writing.history()
    with following(database_url, target_url, [SHOP]):
        wait_until(lambda: position_of(other, "shop") == head(other), SECONDS_MAX, "it has caught up")
        users = SHOP.plain_tables[0]
        registered = len(rows(target_url, users))
        engine = reading(target_url)
        checkpoint = "shop.checkpoint" if engine.dialect.name == "postgresql" else "shop_checkpoint"
        with engine.begin() as connection:
            for table in reversed(SHOP.plain_tables):
                connection.execute(table.delete())
            connection.execute(text(f"UPDATE {checkpoint} SET position = 0, event = ''"))
        engine.dispose()
        writing.user()
        wait_until(lambda: len(rows(target_url, users)) > registered, SECONDS_MAX, "it has caught up again")
    assert not differences(database_url, target_url, [SHOP])


def test_a_mirror_works_unlisted_with_a_role_that_may_only_read_the_log(
    writing: Writing, database_url: str, other: Connection, target_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    writing.history()
    role = sql.Identifier(f"reader_{new_id()}")
    other.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    try:
        other.execute(sql.SQL("GRANT USAGE ON SCHEMA log TO {}").format(role))
        other.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA log TO {}").format(role))
        reader_url = database_url.replace("orders@", f"{role.as_string(None)[1:-1]}@", 1)
        assert reader_url != database_url
        catch_up(reader_url, target_url, PROJECTIONS)
        assert not differences(reader_url, target_url, PROJECTIONS)
    finally:
        other.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))
    assert not standings(other, PROJECTIONS)
    assert caplog.text.count("this mirror is not listed") == 1


def test_a_second_mirror_stands_by_and_takes_over(
    writing: Writing, database_url: str, other: Connection, target_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with following(database_url, target_url, [SHOP]) as first:
        wait_until(lambda: position_of(other, "shop") == 0, SECONDS_MAX, "the first works")
        with following(database_url, target_url, [SHOP]):
            wait_until(lambda: "this one stands by" in caplog.text, SECONDS_MAX, "the second stands by")
            first.stop()
            writing.history()
            wait_until(lambda: position_of(other, "shop") == head(other), SECONDS_MAX, "the second works")
    assert not differences(database_url, target_url, [SHOP])


def test_status_lists_the_error_of_a_stopped_mirror(
    writing: Writing, database_url: str, other: Connection, target_url: str
) -> None:
    writing.user()
    catch_up(database_url, target_url)
    other.execute("UPDATE log.head SET log_uuid = gen_random_uuid()")
    with pytest.raises(OtherLog):
        Mirror(database_url, target_of(target_url), [SHOP]).follow()
    (listed,) = [it for it in standings(other, PROJECTIONS) if it.name == "shop"]
    assert listed.error is not None
    assert "--rebuild" in listed.error
    assert (listed.state, listed.trouble) == ("stopped", listed.error)


@pytest.mark.parametrize("name", ["folder", "letter.txt"])
def test_a_mirror_stops_at_a_path_that_can_be_no_database(database_url: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "letter.txt").write_text("Dear Ada, " * 1_000)
    mirror = Mirror(database_url, target_of(f"sqlite:///{tmp_path / name}"), [SHOP])
    retrying = threading.Timer(RETRYING_SECONDS, mirror.stop)
    retrying.start()
    with pytest.raises(DBAPIError):
        mirror.follow()
    retrying.cancel()


def states(connection: Connection) -> dict[str, str]:
    return {it.name: it.state for it in standings(connection, PROJECTIONS)}


def test_a_mirror_that_ends_in_order_is_listed_as_ended_where_it_is(
    writing: Writing, database_url: str, other: Connection, target_url: str
) -> None:
    writing.history()
    catch_up(database_url, target_url, [SHOP])
    assert position_of(other, "shop") == head(other)
    assert states(other) == {"shop": "ended"}
    with following(database_url, target_url, [SHOP]):
        wait_until(lambda: states(other) == {"shop": "live"}, SECONDS_MAX, "it is at work")
    assert states(other) == {"shop": "ended"}
    rebuild(database_url, target_url, SHOP)
    assert states(other) == {"shop": "ended"}
    other.execute("UPDATE mirrors.standings SET seen_at = now() - interval '1 hour'")
    (listed,) = standings(other, PROJECTIONS)
    assert (listed.state, listed.trouble) == ("ended", None)


def test_a_mirror_that_was_killed_or_failed_is_listed_as_stopped(
    writing: Writing, database_url: str, other: Connection, tmp_path: Path
) -> None:
    target_url = f"sqlite:///{tmp_path / 'app.db'}"
    writing.user()
    catch_up(database_url, target_url, [SHOP])
    other.execute("UPDATE mirrors.standings SET ended_at = NULL, seen_at = now() - interval '11 s'")
    (listed,) = standings(other, PROJECTIONS)
    assert listed.state == "stopped"
    assert listed.trouble is not None
    assert listed.trouble.startswith("no mirror has looked at the log for 11 s")

    (tmp_path / "app.db").write_bytes(b"no database" * 1_000)
    with pytest.raises(DBAPIError):
        catch_up(database_url, target_url, [SHOP])
    (listed,) = standings(other, PROJECTIONS)
    remedy = "it is no SQLite database; name another file, or a new one"
    assert (listed.state, listed.error) == ("stopped", f"file is not a database: {remedy}")


def test_no_projection_waits_until_another_one_has_caught_up(
    writing: Writing, database_url: str, tmp_path: Path
) -> None:
    writing.history()
    steps: list[tuple[str, int]] = []

    def report(projection: Projection, progress: Progress) -> None:
        steps.append((projection.name, progress.position))

    target = target_of(f"sqlite:///{tmp_path / 'app.db'}")
    Mirror(database_url, target, PROJECTIONS, batch_events=10).catch_up(report)
    names = [projection.name for projection in PROJECTIONS]
    assert steps[:6] == [(name, position) for position in (10, 20) for name in names]


def test_a_rebuild_is_listed_with_its_progress(
    writing: Writing, database_url: str, other: Connection, target_url: str
) -> None:
    writing.history()
    catch_up(database_url, target_url, [SHOP])
    seen = []

    def report(progress: Progress) -> None:
        (listed,) = standings(other, PROJECTIONS)
        seen.append((listed.state, listed.progress, progress.position / progress.head))

    Mirror(database_url, target_of(target_url), [SHOP]).rebuild(report)
    assert seen
    assert all(state == "rebuilding" and shown == reached for state, shown, reached in seen[:1]), seen


def test_an_event_that_cannot_be_read_parks_its_stream_until_it_can(
    database_url: str, other: Connection, target_url: str
) -> None:
    streams = [f"user-{new_id()}" for _ in range(3)]
    users = [UserRegistered(f"User {n}", f"u{n}@example.org", f"u{n}@example.org", None) for n in range(3)]
    events = [new_event(stream, 1, user) for stream, user in zip(streams, users, strict=True)]
    append_events(database_url, [events[0], events[1]._replace(data=b'{"name": 7}'), events[2]])
    catch_up(database_url, target_url, [SHOP])
    table = SHOP.plain_tables[0]
    assert sorted(row[2] for row in rows(target_url, table)) == ["User 0", "User 2"]
    assert not differences(database_url, target_url, [SHOP])
    assert not held_back(other, SHOP), "the mirror parks for itself alone"

    other.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
    other.execute("UPDATE log.events SET data = %s WHERE position = 2", (encode(users[1]).decode(),))
    last = UserRegistered("User 3", "u3@example.org", "u3@example.org", None)
    append_events(database_url, [new_event(f"user-{new_id()}", 1, last)])
    catch_up(database_url, target_url, [SHOP])
    assert len(rows(target_url, table)) == 4
    assert not differences(database_url, target_url, [SHOP])


@pytest.mark.parametrize("limit", ["a price of more than 64 bits", "an e-mail address of 300 characters"])
def test_a_row_that_a_mirror_cannot_take_parks_its_stream_in_this_mirror_only(
    database_url: str, other: Connection, target_url: str, limit: str
) -> None:
    address = f"{'a' * 300}@example.org"
    if limit.startswith("a price"):
        stream, bad = f"product-{new_id()}", ProductAdded("CUP", "Cup", "999999999999999.00", "EUR", False)
    else:
        stream, bad = f"user-{new_id()}", UserRegistered("Ada", address, address, None)  # type: ignore[assignment]
    last = f"user-{new_id()}"
    append_events(
        database_url,
        [new_event(stream, 1, bad), new_event(last, 1, UserRegistered("Eve", "e@example.org", "e@example.org", None))],
    )
    sweep(database_url)
    catch_up(database_url, target_url, [SHOP])
    parks = {"sqlite": "a price", "mysql": "an e-mail", "postgresql": "never"}[target_url.partition(":")[0]]
    parked = rows(target_url, parked_table(target_url))
    assert [row[0] for row in parked] == ([stream] if limit.startswith(parks) else [])
    assert all("aaa" not in row[4] for row in parked), "the reason quotes no value"
    assert not held_back(other, SHOP)
    assert "Eve" in [row[2] for row in rows(target_url, SHOP.plain_tables[0])]


def test_a_row_that_is_refused_while_later_pages_are_folded_parks_its_stream_alone(
    database_url: str, target_url: str
) -> None:
    address = f"{'a' * 300}@example.org"
    product, user = f"product-{new_id()}", f"user-{new_id()}"
    events = [
        new_event(f"user-{new_id()}", 1, UserRegistered("Eve", f"{number}@example.org", f"{number}@example.org", None))
        for number in range(20)
    ]
    events[2:2] = [
        new_event(product, 1, ProductAdded("CUP", "Cup", "999999999999999.00", "EUR", False)),
        new_event(user, 1, UserRegistered("Ada", address, address, None)),
    ]
    append_events(database_url, events)
    target = target_of(target_url)
    with connect(database_url) as log, target.writing() as connection:
        with connection.begin():
            target.check(connection)
        MirrorTables(target, connection, SHOP, log).prepare()
        loop = Loop(SHOP, page_max=PageMax(events=5), writer=MirrorWriter(target, connection, SHOP))
        while loop.project(log, 1_000).lag:
            pass
    target.close()
    refused = {"sqlite": [product], "mysql": [user], "postgresql": []}[target_url.partition(":")[0]]
    assert [row[0] for row in rows(target_url, parked_table(target_url))] == refused
    assert len(rows(target_url, SHOP.plain_tables[0])) == 21 - (refused == [user])


def parked_table(target_url: str) -> object:
    """The table of parked streams as the target has it."""
    target = target_of(target_url)
    try:
        with target.snapshot():
            return target.layout(SHOP).parked
    finally:
        target.close()


def test_tables_of_others_are_never_touched(writing: Writing, database_url: str, target_url: str) -> None:
    engine = reading(target_url)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("CREATE SCHEMA shop"))
            connection.execute(text("CREATE TABLE shop.users (mine int)"))
        else:
            connection.execute(text("CREATE TABLE users (mine int)"))
    engine.dispose()
    writing.user()
    with pytest.raises(Unsuitable, match="no mirror made: users"):
        catch_up(database_url, target_url, [SHOP])


def test_a_database_with_a_log_is_no_target(database_url: str) -> None:
    with pytest.raises(Unsuitable, match="has a log of its own"):
        catch_up(database_url, database_url, [SHOP])


def test_rows_without_their_checkpoint_are_never_seen(writing: Writing, database_url: str, tmp_path: Path) -> None:
    """In SQLite, where a trigger can refuse the checkpoint's move."""
    target_url = f"sqlite:///{tmp_path / 'app.db'}"
    catch_up(database_url, target_url, [SHOP])
    engine = reading(target_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE UPDATE ON shop_checkpoint "
                "BEGIN SELECT RAISE(ABORT, 'the checkpoint stays'); END"
            )
        )
    writing.user()
    with pytest.raises(DBAPIError, match="the checkpoint stays"):
        catch_up(database_url, target_url, [SHOP])
    assert rows(target_url, SHOP.plain_tables[0]) == []
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER refuse"))
    engine.dispose()
    catch_up(database_url, target_url, [SHOP])
    assert len(rows(target_url, SHOP.plain_tables[0])) == 1


def test_tables_of_an_older_version_are_rebuilt_and_those_of_a_newer_are_left_alone(
    writing: Writing, database_url: str, target_url: str
) -> None:
    writing.history()
    catch_up(database_url, target_url, [SHOP])
    engine = reading(target_url)
    checkpoint = "shop.checkpoint" if engine.dialect.name == "postgresql" else "shop_checkpoint"
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {checkpoint} SET version = 0"))
        connection.execute(SHOP.plain_tables[0].update().values(name="as the old release had it"))
    catch_up(database_url, target_url, [SHOP])
    assert not differences(database_url, target_url, [SHOP])
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {checkpoint} SET version = 99"))
    engine.dispose()
    with pytest.raises(OtherVersion, match="version 99"):
        catch_up(database_url, target_url, [SHOP])


def test_a_node_of_a_galera_cluster_is_refused(writing: Writing, database_url: str, tmp_path: Path) -> None:
    if lacking := programs.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lacking)
    server = MariaDbServer(tmp_path, settings=["--wsrep-on=ON", "--binlog-format=ROW"])
    server.install()
    server.start()
    try:
        with pytest.raises(Unsuitable, match="Galera"):
            catch_up(database_url, server.database("app"), [SHOP])
    finally:
        server.stop()
