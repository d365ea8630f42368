"""A mirror has the rows that PostgreSQL has, whatever its database."""

import re
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest
from psycopg import Connection
from sqlalchemy import inspect, text
from sqlalchemy.dialects.mysql.reserved_words import RESERVED_WORDS_MARIADB, RESERVED_WORDS_MYSQL

from bench import mariadb as programs
from bench.mariadb import MariaDbServer
from eventlog import stalled
from projector.mirror import mysql
from projector.mirror.target import Unsuitable
from projector.mirror.targets import target_of
from projector.mirror.verifying import verify
from projector.mirror.writer import OtherLog
from projector.projections.shop import SHOP
from service.projections import PROJECTIONS
from tests.builders import Writing
from tests.projecting import sweep
from tests.projector.mirror.mirroring import catch_up, differences, reading, rebuild, rows


def test_a_mirror_has_every_row_of_every_table(writing: Writing, database_url: str, target_url: str) -> None:
    writing.history()
    sweep(database_url)
    reached = catch_up(database_url, target_url)
    assert set(reached) == {it.name for it in PROJECTIONS}
    for projection in PROJECTIONS:
        for table in projection.plain_tables:
            assert rows(target_url, table) == rows(database_url, table), table.name
    assert not differences(database_url, target_url)


def test_a_mirror_goes_on_where_it_stopped(writing: Writing, database_url: str, target_url: str) -> None:
    writing.history(1)
    before = catch_up(database_url, target_url)
    writing.history(2)
    after = catch_up(database_url, target_url)
    assert all(after[name] > before[name] for name in before)
    assert not differences(database_url, target_url)


def test_settings_of_the_server_make_no_difference(writing: Writing, database_url: str, tmp_path: Path) -> None:
    """Those that hosts of MySQL have as their defaults (sql_mode), and that others may have."""
    if reason := programs.missing():
        pytest.skip(reason)
    settings = ["--sql-mode=ANSI,NO_BACKSLASH_ESCAPES", "--innodb-default-row-format=compact"]
    # It is run for users without the right SUPER.
    settings += ["--init-connect=SET sql_select_limit = 1, sql_safe_updates = 1, max_statement_time = 0.01"]
    server = MariaDbServer(tmp_path, settings=settings)
    server.install()
    try:
        server.start()
        target_url = server.database("app")
        writing.history()
        catch_up(database_url, target_url)
        writing.history(2)
        catch_up(database_url, target_url)
        assert not differences(database_url, target_url)
    finally:
        server.stop()


@pytest.mark.parametrize("target_url", ["postgres"], indirect=True)
def test_verify_ends_when_folding_the_log_takes_long(writing: Writing, database_url: str, target_url: str) -> None:
    writing.history()
    catch_up(database_url, target_url)
    target = target_of(target_url)

    def fold_slowly(_: object) -> None:
        time.sleep(stalled.SECONDS_MAX + 1)  # PostgreSQL would end a session that is idle in a transaction for so long

    try:
        verdict = verify(database_url, target, SHOP, fold_slowly)
    finally:
        target.close()
    assert verdict.rows["users"]
    assert not verdict.differences


def test_verify_names_the_column_the_missing_row_and_the_row_too_many(
    writing: Writing, database_url: str, target_url: str
) -> None:
    first, second = writing.user(name="Ada"), writing.user(name="Eve")
    product = writing.product(price=Decimal("2.50"))
    catch_up(database_url, target_url)
    engine = reading(target_url)
    users, products = SHOP.plain_tables[:2]
    with engine.begin() as connection:
        connection.execute(users.update().where(users.c.id == first).values(name="Bob"))
        connection.execute(users.delete().where(users.c.id == second))
        connection.execute(products.update().values(price=Decimal("2.51")))
    engine.dispose()
    found = {(it.table, str(it.key["id"]), it.column) for it in differences(database_url, target_url)}
    assert found == {("users", first, "name"), ("users", second, None), ("products", product, "price")}


def test_a_mirror_refuses_another_log_until_it_is_rebuilt(
    writing: Writing, database_url: str, other: Connection, target_url: str
) -> None:
    writing.history()
    catch_up(database_url, target_url)
    other.execute("UPDATE log.head SET log_uuid = gen_random_uuid()")
    with pytest.raises(OtherLog, match="--rebuild"):
        catch_up(database_url, target_url)
    for projection in PROJECTIONS:
        rebuild(database_url, target_url, projection)
    assert not differences(database_url, target_url)


def test_a_mirror_starts_while_the_session_of_the_last_one_still_ends(
    writing: Writing, database_url: str, target_url: str
) -> None:
    writing.user()
    last = target_of(target_url)
    with last.writing() as connection:
        assert last.take(connection)
        ending = threading.Timer(0.3, last.close if last.engine.dialect.name == "sqlite" else connection.invalidate)
        ending.start()
        assert set(catch_up(database_url, target_url).values()) == {1}
        ending.join()
    last.close()


def test_a_mirror_refuses_a_log_that_lost_events_or_has_others(
    writing: Writing, database_url: str, other: Connection, target_url: str
) -> None:
    writing.user()
    catch_up(database_url, target_url)
    other.execute("UPDATE log.head SET position = 0")
    with pytest.raises(OtherLog, match="the log ends at 0"):
        catch_up(database_url, target_url)
    other.execute("UPDATE log.head SET position = 1")
    other.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
    other.execute("UPDATE log.events SET recorded_at = recorded_at + interval '1 microsecond'")
    with pytest.raises(OtherLog, match="another event at position 1"):
        catch_up(database_url, target_url)


def test_a_rebuild_mends_rows_and_leaves_no_tables_behind(writing: Writing, database_url: str, target_url: str) -> None:
    writing.history()
    catch_up(database_url, target_url)
    engine = reading(target_url)
    with engine.begin() as connection:
        connection.execute(SHOP.plain_tables[0].update().values(name="wrong"))
    for _ in range(2):
        rebuild(database_url, target_url, SHOP)
    assert not differences(database_url, target_url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            found = connection.execute(text("SELECT name FROM sqlite_master WHERE name LIKE '%__mirror_%'")).all()
        else:
            found = connection.execute(
                text("SELECT table_name FROM information_schema.tables WHERE table_name LIKE '%__mirror_%'")
            ).all()
    engine.dispose()
    assert not found
    writing.history(2)
    catch_up(database_url, target_url)
    assert not differences(database_url, target_url)


def test_no_two_projections_have_a_table_of_the_same_name() -> None:
    """SQLite and MySQL have no schemas that would keep them apart."""
    names = [table.name for projection in PROJECTIONS for table in projection.plain_tables]
    assert len(names) == len(set(names))


def test_no_name_is_a_word_that_mysql_or_mariadb_reserves() -> None:
    """The statements of a mirror do not quote the names of columns and aliases."""
    reserved = RESERVED_WORDS_MYSQL | RESERVED_WORDS_MARIADB
    aliases = set(re.findall(r"\bAS (\w+)", Path(mysql.__file__).read_text()))
    assert {"mirrored", "changed"} <= aliases
    columns = {str(column.name) for it in PROJECTIONS for table in it.plain_tables for column in table.columns}
    assert not (columns | aliases) & reserved
    assert "stored" in reserved


@pytest.mark.parametrize(
    ("version", "collation"),
    [
        ("8.0.19", "utf8mb4_0900_bin"),
        ("8.4.6-commercial", "utf8mb4_0900_bin"),
        ("9.7.0", "utf8mb4_0900_bin"),
        ("10.6.1-MariaDB", "utf8mb4_nopad_bin"),
        ("10.5.29-MariaDB", None),
        ("8.0.18", None),
    ],
)
def test_the_collation_that_compares_bytes_is_that_of_the_server(version: str, collation: str | None) -> None:
    if collation:
        assert mysql.collation_of(version) == collation
        return
    with pytest.raises(Unsuitable, match=f"the server is {version}"):
        mysql.collation_of(version)


def test_indexes_that_a_mirror_was_killed_before_are_made_when_it_has_caught_up(
    writing: Writing, database_url: str, target_url: str
) -> None:
    """The first fill makes them after the rows, one by one."""
    writing.user()
    catch_up(database_url, target_url, [SHOP])
    target = target_of(target_url)
    try:
        with target.writing() as connection:
            indexes = target.layout(SHOP).indexes
            with connection.begin():
                for index in indexes:
                    if index.table.name == "users":
                        index.drop(connection)
        catch_up(database_url, target_url, [SHOP])
        with target.writing() as connection, connection.begin():
            inspector = inspect(connection)
            found = {
                it["name"] for table in indexes for it in inspector.get_indexes(table.table.name, table.table.schema)
            }
        assert found == {index.name for index in indexes}
    finally:
        target.close()


def test_no_two_indexes_of_a_mirror_hold_the_same_rows_in_the_same_order(database_url: str, target_url: str) -> None:
    """MariaDB has no partial indexes. One without its condition would repeat the index of all rows."""
    catch_up(database_url, target_url)
    engine = reading(target_url)
    try:
        inspector = inspect(engine)
        for table in SHOP.plain_tables:
            schema = None if inspector.has_table(table.name) else "shop"
            found = [
                (tuple(index["column_names"]), repr(index.get("dialect_options")))
                for index in inspector.get_indexes(table.name, schema=schema)
            ]
            assert found, table.name
            assert len(found) == len(set(found)), (table.name, found)
    finally:
        engine.dispose()
