"""A rebuild of a mirror: readers see whole tables all the time, and no error."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import psycopg
import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from projector.dependents import InTheWay
from projector.loop import Progress
from projector.mirror.following import Mirror
from projector.mirror.target import Unsuitable
from projector.mirror.targets import target_of
from projector.projections.shop import SHOP
from readmodel.shop import order_items, orders
from tests.builders import Writing, wait_until
from tests.projector.event_triggers import SECURE, TO_CDC
from tests.projector.mirror.mirroring import catch_up, differences, reading, rebuild

READERS = 8
SOON = 20

# The tables that a session locks exclusively, or waits to.
LOCKED = """
SELECT relname, granted FROM pg_locks AS lock JOIN pg_class AS class ON class.oid = relation
    JOIN pg_namespace AS schema ON schema.oid = relnamespace
WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND nspname = 'shop'
    AND relkind = 'r' AND mode = 'AccessExclusiveLock'
"""


class Readers:
    """Threads that ask one thing again and again."""

    def __init__(self, url: str) -> None:
        self.engine = reading(url)
        self.answers: list[tuple[object, ...]] = []
        self.errors: list[Exception] = []
        self._stopping = threading.Event()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._read, args=(self.engine,)) for _ in range(READERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()
            self.engine.dispose()

    def _read(self, engine: Engine) -> None:
        of_lines = select(func.count(), func.sum(order_items.c.amount)).join_from(orders, order_items)
        of_orders = select(func.count(), func.sum(orders.c.total)).select_from(orders)
        while not self._stopping.is_set():
            try:
                with engine.connect() as connection:
                    lines = connection.execute(of_lines).one()
                    whole = connection.execute(of_orders).one()
            except Exception as error:  # noqa: BLE001 - any is one too many
                self.errors.append(error)
                return
            self.answers.append((*lines, *whole))


def test_readers_do_not_notice_a_rebuild(writing: Writing, database_url: str, target_url: str) -> None:
    writing.history(orders=60)
    catch_up(database_url, target_url, [SHOP])
    readers = Readers(target_url)
    with readers.at_work():
        for _ in range(5):
            rebuild(database_url, target_url, SHOP)
            time.sleep(0.1)
    kinds = len(set(readers.answers))
    what = f"{len(readers.answers):,} answers, {kinds} different, {len(readers.errors)} errors"
    print(f"{target_url.partition(':')[0]}: 5 rebuilds, {READERS} readers: {what}")
    assert not readers.errors
    assert len(readers.answers) > READERS
    assert len(set(readers.answers)) == 1, set(readers.answers)
    assert readers.answers[0][1] == readers.answers[0][3]
    assert not differences(database_url, target_url, [SHOP])


def test_a_long_reader_delays_the_swap_and_not_the_other_readers(
    writing: Writing, database_url: str, target_url: str
) -> None:
    writing.history()
    catch_up(database_url, target_url, [SHOP])
    engine = reading(target_url)
    count = select(func.count()).select_from(orders)
    rebuilding = threading.Thread(target=rebuild, args=(database_url, target_url, SHOP))
    with engine.connect() as long_reader:
        long_reader.execute(count).scalar_one()  # its transaction stays open
        rebuilding.start()
        waits = []
        until = time.monotonic() + 4
        while time.monotonic() < until:
            began = time.monotonic()
            with engine.connect() as connection:
                connection.execute(count).scalar_one()
            waits.append(time.monotonic() - began)
            time.sleep(0.05)
    rebuilding.join(60)
    assert not rebuilding.is_alive()
    assert max(waits) < 3, "no reader queues for long behind the swap"
    engine.dispose()
    assert not differences(database_url, target_url, [SHOP])


def test_views_of_others_show_the_new_rows_after_a_rebuild(
    writing: Writing, database_url: str, target_url: str
) -> None:
    writing.history()
    catch_up(database_url, target_url, [SHOP])
    engine = reading(target_url)
    name = "shop.orders" if engine.dialect.name == "postgresql" else "orders"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE VIEW how_many AS SELECT count(*) AS number FROM {name}"))
    rebuild(database_url, target_url, SHOP)
    writing.history(2)
    catch_up(database_url, target_url, [SHOP])
    with engine.connect() as connection:
        viewed = connection.execute(text("SELECT number FROM how_many")).scalar_one()
        counted = connection.execute(select(func.count()).select_from(orders)).scalar_one()
    engine.dispose()
    assert viewed == counted > 30


def test_the_swap_in_postgresql_locks_referred_tables_first(
    writing: Writing, database_url: str, empty_database_url: str
) -> None:
    """In another order the swap and readers that join the tables would wait for each other, again and again."""
    writing.history()
    catch_up(database_url, empty_database_url, [SHOP])
    names = [str(table.name) for table in SHOP.plain_tables]
    rebuilding = threading.Thread(target=rebuild, args=(database_url, empty_database_url, SHOP))
    with ExitStack() as stack:
        readers = [stack.enter_context(psycopg.connect(empty_database_url)) for _ in names]
        looking = stack.enter_context(psycopg.connect(empty_database_url, autocommit=True))
        for reader, name in zip(readers, names, strict=True):
            reader.execute(f"LOCK TABLE shop.{name} IN ACCESS SHARE MODE".encode())
        rebuilding.start()
        for number, reader in enumerate(readers):
            due = {(name, True) for name in names[:number]} | {(names[number], False)}
            wait_until(partial(_are_locked, looking, due), SOON, f"a swap that waits for {names[number]}")
            reader.rollback()
    rebuilding.join(60)
    assert not rebuilding.is_alive()


def _are_locked(connection: psycopg.Connection, due: set[tuple[str, bool]]) -> bool:
    return set(connection.execute(LOCKED).fetchall()) == due


def test_a_foreign_key_of_another_table_refuses_a_rebuild_before_the_work(
    writing: Writing, database_url: str, target_url: str
) -> None:
    """MariaDB let it follow to the retired table: that and every later rebuild failed after the swap."""
    writing.history(3)
    catch_up(database_url, target_url, [SHOP])
    engine = reading(target_url)
    kinds = {"postgresql": "UUID", "sqlite": "TEXT"}
    kind = kinds.get(engine.dialect.name, "CHAR(36) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
    orders_there = "shop.orders" if engine.dialect.name == "postgresql" else "orders"
    with engine.begin() as connection:
        key = f"CONSTRAINT of_an_order FOREIGN KEY (order_id) REFERENCES {orders_there} (id)"
        connection.execute(text(f"CREATE TABLE notes (order_id {kind}, {key})"))
    with pytest.raises((Unsuitable, InTheWay), match="of_an_order"):
        rebuild(database_url, target_url, SHOP)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE notes"))
    rebuild(database_url, target_url, SHOP)
    engine.dispose()
    assert not differences(database_url, target_url, [SHOP])


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("CREATE TABLE shop.notes AS SELECT 1 AS a", r"table shop\.notes"),
        ("CREATE VIEW shop.how_many AS SELECT count(*) FROM shop.orders", r"view shop\.how_many"),
        ("CREATE TYPE shop.mood AS ENUM ('good'); CREATE TABLE public.moods (mood shop.mood)", r"type shop\.mood"),
        ("CREATE FUNCTION shop.one() RETURNS int LANGUAGE sql AS 'SELECT 1'", r"function shop\.one\(\)"),
        ("CREATE EXTENSION pg_trgm SCHEMA shop", "extension pg_trgm"),
    ],
)
def test_objects_of_others_in_the_schema_of_a_mirror_stop_a_rebuild_before_the_work(
    writing: Writing, database_url: str, empty_database_url: str, made: str, named: str
) -> None:
    """The rebuild dropped them with the retired tables, another application's rows too."""
    writing.history(3)
    catch_up(database_url, empty_database_url, [SHOP])
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(made.encode())
    with pytest.raises(InTheWay, match=f"what else is in the schema shop: .*{named}"):
        rebuild(database_url, empty_database_url, SHOP)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("CREATE STATISTICS public.pair ON user_id, status FROM shop.orders", r"statistics object public\.pair"),
        ("CREATE RULE r AS ON DELETE TO shop.orders DO ALSO NOTIFY gone", r"rule r on table shop\.orders"),
        ("ALTER TABLE shop.order_items SET UNLOGGED", r"shop\.order_items being unlogged"),
        ("ALTER TABLE shop.orders REPLICA IDENTITY USING INDEX orders_pkey", "the replica identity index"),
        (
            """ALTER TABLE shop.users ADD nickname text;
            CREATE POLICY nicks ON shop.users USING (nickname <> '')""",
            r"CREATE POLICY nicks ON shop\.users .*nickname",
        ),
        (
            "ALTER TABLE shop.users ADD nickname text; CREATE VIEW public.nicks AS SELECT nickname FROM shop.users",
            r"VIEW public\.nicks .*nickname",
        ),
    ],
)
def test_a_rebuild_in_postgresql_names_settings_that_it_cannot_keep_before_the_work(
    writing: Writing, database_url: str, empty_database_url: str, made: str, named: str
) -> None:
    writing.history(3)
    catch_up(database_url, empty_database_url, [SHOP])
    reports: list[Progress] = []
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(made.encode())
        mirror = Mirror(database_url, target_of(empty_database_url), [SHOP])
        with pytest.raises(InTheWay, match=named):
            mirror.rebuild(reports.append)
        schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'shop%'").fetchall()
    assert (reports, schemas) == ([], [("shop",)])


def test_an_event_trigger_that_publishes_each_new_table_stops_no_rebuild_in_postgresql(
    writing: Writing, database_url: str, empty_database_url: str
) -> None:
    writing.history(3)
    catch_up(database_url, empty_database_url, [SHOP])
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE PUBLICATION cdc FOR TABLE shop.users (id, name), shop.orders")
        connection.execute(TO_CDC)
        rebuild(database_url, empty_database_url, SHOP)
        published = connection.execute("SELECT tablename FROM pg_publication_tables ORDER BY 1").fetchall()
    assert published == [("orders",), ("users",)]


def test_a_temporary_view_of_another_session_refuses_a_rebuild_before_the_work(
    writing: Writing, database_url: str, empty_database_url: str
) -> None:
    """The rebuild failed at the swap, after the work, with an error of PostgreSQL that named no view."""
    writing.history(3)
    catch_up(database_url, empty_database_url, [SHOP])
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE TEMP VIEW how_many AS SELECT count(*) FROM shop.orders")
        with pytest.raises(InTheWay, match=r"view pg_temp_\d+\.how_many"):
            rebuild(database_url, empty_database_url, SHOP)
    rebuild(database_url, empty_database_url, SHOP)


NO_DROP = """
CREATE FUNCTION public.no_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() WHERE object_type = 'table') THEN
        RAISE EXCEPTION 'no DROP in production';
    END IF; END $$;
CREATE EVENT TRIGGER no_drop ON sql_drop EXECUTE FUNCTION public.no_drop()
"""


def test_an_event_trigger_that_forces_row_security_on_new_tables_stops_no_mirror_of_their_owner(
    writing: Writing, database_url: str, empty_database_url: str
) -> None:
    writing.history(3)
    secured = "SELECT count(*) FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relforcerowsecurity"
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        name = f"owner_of_{connection.info.dbname}"
        connection.execute(f"CREATE ROLE {name} LOGIN".encode())
        try:
            connection.execute(f"ALTER DATABASE {connection.info.dbname} OWNER TO {name}".encode())
            connection.execute(SECURE)
            target = empty_database_url.replace("orders@", f"{name}@", 1)
            catch_up(database_url, target, [SHOP])
            rebuild(database_url, target, SHOP)
            assert not differences(database_url, target, [SHOP])
            assert connection.execute(secured).fetchall() == [(0,)]
        finally:
            connection.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}".encode())
            connection.execute(f"DROP ROLE {name}".encode())


def test_an_event_trigger_that_forbids_to_drop_tables_refuses_a_rebuild_before_the_work(
    writing: Writing, database_url: str, empty_database_url: str
) -> None:
    """The retired tables stayed, and each later rebuild failed after its work."""
    writing.history(3)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(NO_DROP.encode())
        catch_up(database_url, empty_database_url, [SHOP])
        for _ in range(2):
            with pytest.raises(DBAPIError, match="no DROP in production"):
                rebuild(database_url, empty_database_url, SHOP)
            schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'shop%'").fetchall()
            assert schemas == [("shop",)]


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("CREATE VIEW public.old AS SELECT id, total FROM shop__mirror_retired.orders", r"view public\.old"),
        ("CREATE TABLE shop__mirror_retired.compared ()", r"table shop__mirror_retired\.compared"),
    ],
)
def test_a_rebuild_drops_nothing_that_others_built_on_the_tables_of_a_killed_mirror(
    writing: Writing, database_url: str, empty_database_url: str, made: str, named: str
) -> None:
    writing.history(3)
    catch_up(database_url, empty_database_url, [SHOP])
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE SCHEMA shop__mirror_retired; CREATE TABLE shop__mirror_retired.orders (id int, total int)"
        )
        connection.execute(made.encode())
        with pytest.raises(InTheWay, match=named):
            rebuild(database_url, empty_database_url, SHOP)
        connection.execute("DROP SCHEMA shop__mirror_retired CASCADE")
    rebuild(database_url, empty_database_url, SHOP)
