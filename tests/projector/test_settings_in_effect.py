"""Settings on the read tables are in effect after a rebuild, and are kept however they came about, and whenever."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import Connection

from projector.dependents import InTheWay
from projector.loop import Progress
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.verify import verify
from tests.builders import Writing, wait_until
from tests.projector.event_triggers import TO_CDC, for_each_new_table
from tests.projector.test_heritage import SETTINGS, nobody

SOON = 10

SLOW_RENAME = """
CREATE FUNCTION public.slowly() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.7); END';
CREATE EVENT TRIGGER slowly ON ddl_command_end WHEN TAG IN ('ALTER SCHEMA') EXECUTE FUNCTION public.slowly()
"""


@contextmanager
def a_swap_under_way(database_url: str, connection: Connection) -> Iterator[None]:
    """A replay whose swap has renamed a schema, and ends with the block."""
    connection.execute(SLOW_RENAME.encode())
    has_begun = threading.Event()
    replaying = threading.Thread(target=replay, args=(database_url, SHOP, lambda _: has_begun.set()))
    replaying.start()
    assert has_begun.wait(SOON)
    sleeping = b"SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    wait_until(lambda: bool(connection.execute(sleeping).fetchall()), SOON, "the swap")
    try:
        yield
    finally:
        replaying.join()


def test_an_event_trigger_that_publishes_each_new_table_stops_no_replay_and_no_verify(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    """As where FOR ALL TABLES needs a superuser. Subscribers lack the schemas of a rebuild and a verify."""
    connection.execute("CREATE PUBLICATION cdc FOR TABLE shop.users (id, name), shop.orders")
    connection.execute(TO_CDC)
    before = connection.execute(SETTINGS.encode()).fetchall()
    built = "SELECT FROM pg_publication_tables WHERE schemaname IN ('shop_next', 'shop_verify')"

    def look(_: Progress) -> None:
        assert connection.execute(built).fetchall() == []

    for _ in range(2):
        assert verify(database_url, SHOP, look).found == 0
        replay(database_url, SHOP, look)
        assert connection.execute(SETTINGS.encode()).fetchall() == before


def test_a_publication_of_another_owner_that_gets_each_new_table_is_named(
    owner_url: str, connection: Connection
) -> None:
    connection.execute("CREATE PUBLICATION cdc")
    connection.execute(TO_CDC)
    with pytest.raises(InTheWay, match="publication cdc of role orders: let it leave out the schema shop_verify"):
        verify(owner_url, SHOP, nobody)
    with pytest.raises(InTheWay, match="publication cdc of role orders: let it leave out the schema shop_next"):
        replay(owner_url, SHOP, nobody)


def test_statistics_targets_and_estimates_are_in_effect_after_a_replay(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    connection.execute(
        "ALTER TABLE shop.orders ALTER user_id SET (n_distinct = -0.9), ALTER placed_at SET STATISTICS 2"
    )
    connection.execute("ANALYZE shop.orders")
    known = """SELECT attname, n_distinct, array_length(histogram_bounds::text::text[], 1) FROM pg_stats
    WHERE schemaname = 'shop' AND tablename = 'orders' AND attname IN ('placed_at', 'user_id') ORDER BY 1"""
    before = connection.execute(known).fetchall()
    assert before[1][1] == pytest.approx(-0.9)
    replay(database_url, SHOP, nobody)
    assert connection.execute(known).fetchall() == before


@pytest.mark.parametrize("by", ["member", "superuser"])
def test_the_privileges_of_the_role_that_runs_a_replay_stay_its_own(
    owner_url: str, database_url: str, connection: Connection, by: str
) -> None:
    """ALTER TABLE ... OWNER TO moves the privileges of the old owner to the new one."""
    ((owner,),) = connection.execute("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'shop'")
    connection.execute(f"CREATE ROLE a_{owner} LOGIN IN ROLE {owner}".encode())
    role, url = ("orders", database_url)
    if by == "member":
        role, url = f"a_{owner}", database_url.replace("orders@", f"a_{owner}@", 1)
    try:
        connection.execute(
            f"GRANT USAGE ON SCHEMA shop TO {role}; GRANT SELECT ON shop.orders TO {role} WITH GRANT OPTION; "
            f"GRANT SELECT (id), UPDATE (name) ON shop.users TO {role}".encode()
        )
        before = connection.execute(SETTINGS.encode()).fetchall()
        for _ in range(2):
            replay(url, SHOP, nobody)
            assert connection.execute(SETTINGS.encode()).fetchall() == before
    finally:
        connection.execute(f"DROP OWNED BY a_{owner}; DROP ROLE a_{owner}".encode())


def test_a_new_table_has_the_default_privileges_of_the_owner_and_not_those_of_the_role_that_runs_the_replay(
    owner_url: str, database_url: str, connection: Connection
) -> None:
    ((owner,),) = connection.execute("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'shop'")
    connection.execute(f"CREATE ROLE bi_{owner}; CREATE ROLE other_{owner}".encode())
    try:
        connection.execute(
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO bi_{owner}; "
            f"ALTER DEFAULT PRIVILEGES GRANT SELECT, DELETE ON TABLES TO other_{owner}; "
            "DROP SCHEMA reports CASCADE; DROP TABLE shop.order_items".encode()
        )
        replay(database_url, SHOP, nobody)  # by a superuser
        ((granted,),) = connection.execute("SELECT relacl::text FROM pg_class WHERE oid = 'shop.order_items'::regclass")
        assert granted == f"{{{owner}=arwdDxtm/{owner},bi_{owner}=r/{owner}}}"
    finally:
        connection.execute(f"DROP OWNED BY bi_{owner}, other_{owner}; DROP ROLE bi_{owner}, other_{owner}".encode())


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ("COMMENT ON TABLE shop.users IS 'ours'", "obj_description('shop.users'::regclass, 'pg_class') = 'ours'"),
        ("GRANT SELECT ON shop.users TO pg_monitor", "has_table_privilege('pg_monitor', 'shop.users', 'SELECT')"),
        (
            "ALTER TABLE shop.users SET (fillfactor = 70)",
            "(SELECT reloptions = '{fillfactor=70}' FROM pg_class WHERE oid = 'shop.users'::regclass)",
        ),
    ],
)
def test_a_setting_that_comes_in_the_moment_of_the_swap_is_kept(
    shop: Writing, database_url: str, connection: Connection, other: Connection, change: str, kept: str
) -> None:
    """It was made on the tables that the swap retired, and was dropped with them."""
    with a_swap_under_way(database_url, connection):
        other.execute(change.encode())
    assert connection.execute(f"SELECT {kept}".encode()).fetchall() == [(True,)]


def test_a_grant_on_all_tables_in_the_moment_of_the_swap_is_not_lost_in_silence(
    shop: Writing, database_url: str, connection: Connection, other: Connection
) -> None:
    """It locks no table, so nothing makes it wait for the new ones."""
    refused = pytest.raises(psycopg.errors.InternalError_, match="tuple concurrently updated")
    with a_swap_under_way(database_url, connection), refused:
        other.execute("GRANT SELECT ON ALL TABLES IN SCHEMA shop TO pg_monitor")


def test_a_grant_on_the_schema_that_commits_while_the_swap_waits_for_it_ends_no_replay(
    shop: Writing, database_url: str, connection: Connection, other: Connection
) -> None:
    other.autocommit = False
    other.execute("GRANT USAGE ON SCHEMA shop TO pg_monitor")
    has_begun, failed = threading.Event(), []

    def rebuild() -> None:
        try:
            replay(database_url, SHOP, lambda _: has_begun.set())
        except psycopg.Error as error:
            failed.append(error)

    replaying = threading.Thread(target=rebuild)
    replaying.start()
    assert has_begun.wait(SOON)
    waits = b"SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
    wait_until(lambda: bool(connection.execute(waits).fetchall()), SOON, "the swap")
    other.commit()
    replaying.join()
    assert failed == []
    usage = "SELECT has_schema_privilege('pg_monitor', 'shop', 'USAGE')"
    assert connection.execute(usage).fetchall() == [(True,)]


def test_an_index_that_reindex_concurrently_is_building_is_none_of_an_operator(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    """A replay named it, to be dropped; so does one that a cancelled REINDEX has left."""
    connection.execute("CREATE INDEX orders_total_idx_ccnew ON shop.orders (total)")
    connection.execute("CREATE INDEX orders_pkey_ccold1 ON shop.orders (id)")
    replay(database_url, SHOP, nobody)
    connection.execute("CREATE INDEX by_note_ccnew ON shop.orders (note)")
    with pytest.raises(InTheWay, match="by_note_ccnew"):
        replay(database_url, SHOP, nobody)


def test_retired_tables_that_a_session_holds_are_published_no_more(
    shop: Writing, database_url: str, connection: Connection, other: Connection
) -> None:
    """A new subscriber lacks their schema, so his subscription could not begin."""
    connection.execute("CREATE PUBLICATION p FOR TABLE shop.users, shop.orders")
    published = "SELECT schemaname, tablename FROM pg_publication_tables ORDER BY 2"
    before = connection.execute("SELECT generation FROM shop.checkpoint").fetchall()
    other.autocommit = False
    other.execute("SELECT FROM shop.orders")
    replaying = threading.Thread(target=replay, args=(database_url, SHOP, nobody))
    replaying.start()
    try:
        generation = "SELECT generation FROM shop.checkpoint"
        wait_until(lambda: connection.execute(generation).fetchall() != before, SOON, "the swap")
        due = [("shop", "orders"), ("shop", "users")]
        wait_until(lambda: connection.execute(published).fetchall() == due, SOON / 2, "no retired table is published")
    finally:
        other.rollback()
        replaying.join()


def test_a_trigger_that_an_event_trigger_gives_each_new_table_fires_for_no_row_of_a_rebuild(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    """It copied the whole shop at each rebuild, and the next replay refused to drop it."""
    connection.execute(
        b"""CREATE TABLE public.audit (row jsonb);
        CREATE FUNCTION public.audited() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO public.audit VALUES (to_jsonb(NEW)); RETURN NULL; END $$"""
    )
    audited = "CREATE TRIGGER audited AFTER INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION public.audited()"
    connection.execute(for_each_new_table("audit_all", audited))
    for _ in range(2):
        assert verify(database_url, SHOP, nobody).found == 0
        replay(database_url, SHOP, nobody)
    # The first statement of a build is the row of its checkpoint, in the transaction that makes the tables.
    assert connection.execute("SELECT FROM public.audit WHERE NOT row ? 'one_row'").fetchall() == []


def test_default_privileges_open_no_schema_of_a_rebuild_to_roles_from_which_row_security_hides_rows(
    owner_url: str, connection: Connection, reporter: str
) -> None:
    ((owner,),) = connection.execute("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'shop'")
    connection.execute(
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT USAGE ON SCHEMAS TO {reporter}; "
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO {reporter}".encode()
    )
    seen = []

    def look(_: Progress) -> None:
        query = (
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'shop_%%' AND has_schema_privilege(%s, oid, 'USAGE')"
        )
        seen.extend(connection.execute(query, (reporter,)).fetchall())

    replay(owner_url, SHOP, look)
    verify(owner_url, SHOP, look)
    assert seen == []


def test_a_replay_names_a_policy_whose_schema_the_owner_may_not_use_and_the_remedy(
    owner_url: str, connection: Connection
) -> None:
    connection.execute(
        b"""CREATE SCHEMA auth; CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT null::uuid';
        CREATE POLICY mine ON shop.orders USING (user_id = auth.uid())"""
    )
    with pytest.raises(InTheWay, match=r"CREATE POLICY mine .*denied for schema auth: grant it to the role that runs"):
        replay(owner_url, SHOP, nobody)


def test_a_deadlock_of_the_swap_with_a_reader_of_a_view_is_tried_again(
    shop: Writing, database_url: str, connection: Connection, other: Connection
) -> None:
    """As on a server with a short deadlock_timeout: the session that finds the deadlock is ended."""
    connection.execute("CREATE VIEW public.totals AS SELECT total FROM shop.orders")
    connection.execute(f"ALTER DATABASE {connection.info.dbname} SET deadlock_timeout = '200ms'".encode())
    waits = b"SELECT FROM pg_locks WHERE relation = 'public.totals'::regclass AND NOT granted"
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    other.execute("SET deadlock_timeout = '10s'")
    other.autocommit = False
    failed: list[Exception] = []

    def rebuild() -> None:
        try:
            replay(database_url, SHOP, nobody)
        except psycopg.Error as error:
            failed.append(error)

    replaying = threading.Thread(target=rebuild)
    other.execute("SELECT FROM public.totals")
    replaying.start()
    while replaying.is_alive() and connection.execute(deadlocks).fetchall() == [(0,)]:
        other.execute("SELECT FROM public.totals")
        if connection.execute(waits).fetchall():
            other.execute("SELECT FROM shop.checkpoint")
            other.commit()
    other.commit()
    replaying.join()
    assert failed == []
