"""Rebuilds by several roles, after another role's killed rebuild, and beside another role's open transaction."""

from threading import Timer

import psycopg
import pytest
from psycopg import Connection

from projector.dependents import InTheWay
from projector.loop import Progress
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.shadow import Shadow
from tests.builders import Writing
from tests.projector.test_heritage import SETTINGS, nobody
from tests.projector.test_replay import schemas


def test_a_replay_by_a_member_of_the_owner_keeps_the_owner(
    owner_url: str, database_url: str, connection: Connection
) -> None:
    """As when an operator has a login of his own."""
    ((owner,),) = connection.execute("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'shop'")
    connection.execute(f"CREATE ROLE a_{owner} LOGIN IN ROLE {owner}".encode())
    before = connection.execute(SETTINGS.encode()).fetchall()
    try:
        for _ in range(2):
            replay(database_url.replace("orders@", f"a_{owner}@", 1), SHOP, nobody)
            assert connection.execute(SETTINGS.encode()).fetchall() == before
    finally:
        connection.execute(f"DROP OWNED BY a_{owner}; DROP ROLE a_{owner}".encode())


@pytest.mark.parametrize("schema", ["shop_next", "shop_verify"])
def test_the_role_that_has_left_tables_behind_is_named(owner_url: str, connection: Connection, schema: str) -> None:
    """A superuser's killed replay leaves a schema that the owner of the tables cannot drop."""
    left_behind = rf"role orders has left the schema {schema} behind: .*drop it"
    with Shadow(connection, SHOP, schema), pytest.raises(InTheWay, match=left_behind):
        replay(owner_url, SHOP, nobody)
    replay(owner_url, SHOP, nobody)


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        (
            "CREATE VIEW public.totals AS SELECT total FROM shop.orders",
            "SELECT FROM pg_views WHERE viewname = 'totals'",
        ),
        ("CREATE POLICY all_rows ON shop.users USING (true)", "SELECT FROM pg_policies WHERE schemaname = 'shop'"),
        (
            "GRANT SELECT ON shop.users TO PUBLIC",
            "SELECT FROM information_schema.table_privileges WHERE table_schema = 'shop' AND grantee = 'PUBLIC'",
        ),
        (
            "COMMENT ON TABLE shop.users IS 'ours'",
            "SELECT WHERE obj_description('shop.users'::regclass, 'pg_class') = 'ours'",
        ),
    ],
)
def test_a_swap_waits_for_a_transaction_that_has_set_something_on_the_read_tables(
    shop: Writing, database_url: str, connection: Connection, other: Connection, made: str, kept: str
) -> None:
    generation = "SELECT generation FROM shop.checkpoint"
    before = connection.execute(generation).fetchall()
    at_its_end = []

    def commit() -> None:
        at_its_end.append(connection.execute(generation).fetchall())
        other.commit()

    timer = Timer(1.5, commit)

    def begin(_: Progress) -> None:
        if timer.ident is None:
            other.autocommit = False
            other.execute(made.encode())
            timer.start()

    replay(database_url, SHOP, begin)
    timer.join()
    assert at_its_end == [before]
    assert connection.execute(generation).fetchall() != before
    assert len(connection.execute(kept.encode()).fetchall()) == 1


def test_an_event_trigger_that_forbids_drops_stops_a_replay_before_the_work(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    before = connection.execute("SELECT generation FROM shop.checkpoint").fetchall()
    connection.execute(
        b"""CREATE FUNCTION public.no_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'no table is dropped here'; END $$;
        CREATE EVENT TRIGGER no_drop ON sql_drop WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA')
            EXECUTE FUNCTION public.no_drop()"""
    )
    reports: list[Progress] = []
    with pytest.raises(psycopg.errors.RaiseException, match="no table is dropped here"):
        replay(database_url, SHOP, reports.append)
    assert (reports, schemas(connection)) == ([], {"shop"})
    assert connection.execute("SELECT generation FROM shop.checkpoint").fetchall() == before
