"""What others have built on the read tables survives a replay, or there is none."""

import time
from contextlib import closing
from threading import Timer

import pytest
from psycopg import Connection

from projector.checkpoint import AheadOfLog
from projector.dependents import InTheWay
from projector.follower import Follower
from projector.loop import Loop, Progress
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.shadow import Shadow
from projector.status import status
from projector.tables import CREATE_LOCK
from projector.verify import verify
from tests.builders import Writing
from tests.projector.read_tables import contents, error
from tests.projector.test_loop import ALL
from tests.projector.test_replay import nobody, schemas
from tests.system.test_rebuilding import NO_ROOM

TRIGGER_OF_ANOTHER_TABLE = """
CREATE TABLE report.notes (text text);
CREATE FUNCTION report.noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER noted AFTER INSERT ON report.notes FROM shop.orders
    FOR EACH ROW EXECUTE FUNCTION report.noted()
"""


@pytest.fixture
def shop(writing: Writing, connection: Connection) -> Writing:
    """A shop with some history, projected."""
    writing.history(orders=12)
    while Loop(SHOP).project(connection, ALL).events:
        pass
    return writing


def test_views_follow_the_tables_of_their_names(shop: Writing, database_url: str, connection: Connection) -> None:
    role = f"reporting_{connection.info.dbname}"
    connection.execute(
        f"""
        CREATE SCHEMA report;
        CREATE VIEW report.totals WITH (security_invoker = true) AS
            SELECT "placed_by".name, sum(total) FROM shop.orders JOIN shop.users AS placed_by ON user_id = placed_by.id
            GROUP BY placed_by.name;
        CREATE VIEW report."Of %s totals" AS SELECT count(*) FROM report.totals;
        CREATE VIEW public.where_it_stands AS SELECT position FROM shop.checkpoint;
        CREATE ROLE "{role}";
        GRANT SELECT ON public.where_it_stands TO "{role}"
        """.encode()
    )
    try:
        for number in range(2):
            replay(database_url, SHOP, nobody)
            assert schemas(connection) == {"shop"}
            shop.user(name=f"Somebody {number}")
            user = shop.user(name=f"Somebody else {number}")
            shop.order(user, {shop.product(): 1})
            Loop(SHOP).project(connection, ALL)
            rows = connection.execute("SELECT count(*) FROM report.totals").fetchone()
            assert rows == connection.execute(b'SELECT * FROM report."Of %s totals"').fetchone()
            assert rows == connection.execute("SELECT count(DISTINCT user_id) FROM shop.orders").fetchone()
        connection.execute(f'SET ROLE "{role}"'.encode())
        assert connection.execute("SELECT * FROM public.where_it_stands").fetchone()
    finally:
        connection.execute("RESET ROLE")
        connection.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"'.encode())
    options = connection.execute("SELECT reloptions FROM pg_class WHERE oid = 'report.totals'::regclass").fetchone()
    assert options == (["security_invoker=true"],)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("CREATE MATERIALIZED VIEW report.sales AS SELECT total FROM shop.orders", "materialized view report.sales"),
        ("CREATE TABLE report.stars (user_id uuid REFERENCES shop.users)", "constraint stars_user_id_fkey on table"),
        (TRIGGER_OF_ANOTHER_TABLE, "trigger noted on table report.notes"),
        (
            "CREATE FUNCTION report.best() RETURNS numeric BEGIN ATOMIC SELECT max(total) FROM shop.orders; END",
            "function report.best()",
        ),
        ("CREATE TABLE report.kept (was shop.orders)", "table report.kept"),
        ("CREATE TABLE report.kept (was shop.orders[])", "table report.kept"),
        ("CREATE VIEW report.kept AS SELECT array_agg(o) FROM shop.orders AS o", "view report.kept"),
        (
            "CREATE FUNCTION report.count(shop.orders[]) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "function report.count(shop.orders[])",
        ),
        ("ALTER TABLE shop.users ADD COLUMN nickname text", "users.nickname"),
        ("CREATE VIEW shop.mine AS SELECT name FROM shop.users", "mine.name"),
    ],
)
def test_a_replay_names_dependents_that_it_would_lose_and_does_not_start(
    shop: Writing, database_url: str, connection: Connection, made: str, told: str
) -> None:
    before = contents(connection)
    connection.execute(f"CREATE SCHEMA report; {made}".encode())
    with pytest.raises(InTheWay) as refused:
        replay(database_url, SHOP, nobody)
    assert told in str(refused.value)
    assert schemas(connection) == {"shop"}
    assert contents(connection).keys() == before.keys()


def test_a_replay_names_a_temporary_view_of_another_session(
    shop: Writing, database_url: str, other: Connection
) -> None:
    other.execute("CREATE TEMP VIEW how_many AS SELECT count(*) FROM shop.orders")
    with pytest.raises(InTheWay, match=r"would be lost: .*view pg_temp_\d+\.how_many"):
        replay(database_url, SHOP, nobody)
    other.execute("DROP VIEW how_many")
    replay(database_url, SHOP, nobody)


@pytest.mark.parametrize("checkpoint", ["()", "(day date)", "AS TABLE shop.checkpoint", "(LIKE shop.checkpoint)"])
@pytest.mark.parametrize("schema", ["shop_next", "shop_retired", "shop_verify"])
def test_a_schema_of_others_with_a_name_that_a_replay_or_verify_needs_is_not_dropped(
    shop: Writing, database_url: str, connection: Connection, other: Connection, schema: str, checkpoint: str
) -> None:
    other.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.mine ()".encode())
    other.execute(f"CREATE TABLE {schema}.checkpoint {checkpoint}".encode())
    other.execute("UPDATE shop.checkpoint SET version = 0")
    with closing(Follower(database_url, SHOP)) as worker:
        worker.sweep()
    assert f"the schema {schema} is not of orders" in str(error(connection))
    other.execute(f"UPDATE shop.checkpoint SET version = {SHOP.version}".encode())
    try:
        with pytest.raises(InTheWay, match=f"the schema {schema} is not of orders"):
            replay(database_url, SHOP, nobody)
        if schema != "shop_retired":
            with pytest.raises(InTheWay, match=f"the schema {schema} is not of orders"):
                verify(database_url, SHOP, nobody)
        assert other.execute(f"SELECT FROM {schema}.mine".encode()).fetchall() == []
    finally:
        other.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())


@pytest.mark.parametrize("name", ["shop_next", "shop_retired", "shop_verify"])
def test_a_replay_names_a_view_on_tables_of_an_earlier_replay_and_does_not_drop_it(
    shop: Writing, database_url: str, connection: Connection, name: str
) -> None:
    replay(database_url, SHOP, nobody)
    with Shadow(connection, SHOP, "shop_verify"):
        if name != "shop_verify":
            connection.execute(f"ALTER SCHEMA shop_verify RENAME TO {name}".encode())
        connection.execute(
            f"CREATE SCHEMA report; CREATE VIEW report.old AS SELECT id FROM {name}.orders;"
            f"CREATE TABLE report.stars (user_id uuid REFERENCES {name}.users)".encode()
        )
    with pytest.raises(InTheWay, match=rf"schema {name} cannot be dropped.*view report.old"):
        replay(database_url, SHOP, nobody)
    assert connection.execute("SELECT * FROM report.old").fetchall() == []
    connection.execute("DROP SCHEMA report CASCADE")
    replay(database_url, SHOP, nobody)
    assert schemas(connection) == {"shop"}


@pytest.mark.parametrize("schema", ["shop_next", "shop_retired", "shop_verify"])
@pytest.mark.parametrize("made", ["TABLE {}.kept AS SELECT 1", "VIEW {}.kept AS SELECT 1", "SEQUENCE {}.kept"])
def test_a_replay_names_and_keeps_the_objects_that_others_put_into_its_schemas(
    shop: Writing, database_url: str, connection: Connection, schema: str, made: str
) -> None:
    with Shadow(connection, SHOP, "shop_verify"):
        if schema != "shop_verify":
            connection.execute(f"ALTER SCHEMA shop_verify RENAME TO {schema}".encode())
        connection.execute(f"CREATE {made.format(schema)}".encode())
    with pytest.raises(InTheWay, match=rf"would drop what else is in the schema {schema}: \w+ {schema}\.kept; move it"):
        replay(database_url, SHOP, nobody)
    if schema != "shop_retired":
        with pytest.raises(InTheWay, match=rf"{schema}\.kept"):
            verify(database_url, SHOP, nobody)
    connection.execute(f"DROP {made.format(schema).partition(' AS')[0]}".encode())
    replay(database_url, SHOP, nobody)
    assert schemas(connection) == {"shop"}


def test_a_swap_waits_until_the_swap_of_another_projection_has_ended(
    shop: Writing, database_url: str, connection: Connection, other: Connection
) -> None:
    """They would read the definition of a view of both projections while its schemas are renamed."""
    generations = []

    def end_the_other_swap() -> None:
        generations.append(connection.execute("SELECT generation FROM shop.checkpoint").fetchall())
        other.commit()

    timer = Timer(1.5, end_the_other_swap)

    def begin_another_swap(_: object) -> None:
        if timer.ident is None:
            other.autocommit = False
            other.execute("SELECT pg_advisory_xact_lock(%s)", (CREATE_LOCK,))
            timer.start()

    before = connection.execute("SELECT generation FROM shop.checkpoint").fetchall()
    replay(database_url, SHOP, begin_another_swap)
    timer.join()
    assert generations == [before]
    assert connection.execute("SELECT generation FROM shop.checkpoint").fetchall() != before


def test_a_replay_drops_objects_that_only_an_earlier_release_made(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    """The checkpoint lists what the release that made the tables has made."""
    before = contents(connection)
    connection.execute("ALTER TABLE shop.users ADD COLUMN nickname text")
    connection.execute("CREATE INDEX users_nickname ON shop.users (nickname)")
    with pytest.raises(InTheWay):
        replay(database_url, SHOP, nobody)
    connection.execute("UPDATE shop.checkpoint SET made = made || '{users.nickname, users_nickname}'")
    replay(database_url, SHOP, nobody)
    assert contents(connection) == before


# As a column that an earlier release had made, and this one makes no longer.
DROPPED = (
    "ALTER TABLE shop.users ADD COLUMN nickname text; UPDATE shop.checkpoint SET made = made || '{users.nickname}';"
)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            f"{DROPPED} CREATE VIEW public.nicks AS SELECT id, nickname FROM shop.users",
            r"VIEW public\.nicks .*nickname",
        ),
        (
            """ALTER TABLE shop.orders ALTER version TYPE bigint; UPDATE shop.checkpoint SET version = 0;
            CREATE VIEW public.versions AS SELECT version FROM shop.orders""",
            r"VIEW public\.versions .*version",
        ),
        (
            f"""{DROPPED} CREATE VIEW public.a AS SELECT count(nickname) FROM shop.users;
            CREATE VIEW public.b AS SELECT max(nickname) FROM shop.users""",
            r"VIEW public\.a .*; VIEW public\.b ",
        ),
        (f"{DROPPED} CREATE POLICY nicks ON shop.users USING (nickname <> '')", "CREATE POLICY nicks .*nickname"),
        (
            f"{DROPPED} CREATE PUBLICATION nicks FOR TABLE shop.users (id, nickname)",
            "ALTER PUBLICATION nicks .*nickname",
        ),
    ],
)
def test_a_replay_names_dependents_of_dropped_or_changed_columns_before_it_starts(
    shop: Writing, database_url: str, connection: Connection, made: str, told: str
) -> None:
    before = contents(connection)
    connection.execute(made.encode())
    reports: list[Progress] = []
    with pytest.raises(InTheWay, match=told) as refused:
        replay(database_url, SHOP, reports.append)
    assert (len(str(refused.value).splitlines()), reports, schemas(connection)) == (1, [], {"shop"})
    assert contents(connection).keys() == before.keys()


def test_settings_of_a_dropped_column_go_with_the_column(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    before = contents(connection)
    connection.execute(
        f"{DROPPED} COMMENT ON COLUMN shop.users.nickname IS 'ours'; GRANT SELECT (nickname) ON shop.users TO PUBLIC; "
        "ALTER TABLE shop.users ALTER nickname SET STATISTICS 500".encode()
    )
    replay(database_url, SHOP, nobody)
    assert contents(connection) == before


def test_a_worker_names_the_obstacle_to_a_rebuild_in_one_line_and_goes_on(
    shop: Writing, database_url: str, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    connection.execute(f"{DROPPED} CREATE VIEW public.nicks AS SELECT nickname FROM shop.users".encode())
    connection.execute("UPDATE shop.checkpoint SET version = 0")
    with closing(Follower(database_url, SHOP, retry_seconds=0.5)) as worker:
        for _ in range(3):
            worker.sweep()
        assert "VIEW public.nicks" in str(error(connection))
        assert caplog.text.count("VIEW public.nicks") == 1
        assert "Traceback" not in caplog.text
        (standing,) = status(connection, [SHOP]).projections
        assert f"this release needs {SHOP.version}: it cannot be rebuilt: InTheWay" in str(standing.trouble)
        connection.execute("DROP VIEW public.nicks")
        time.sleep(0.5)  # the worker tries again after retry_seconds
        worker.sweep()
        worker.sweep()
    assert (error(connection), status(connection, [SHOP]).projections[0].state) == (None, "live")


def test_a_worker_without_room_for_a_rebuild_tries_again_only_after_a_while(
    shop: Writing, database_url: str, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Each attempt fills the disk, and stops the commands that need it too."""
    caplog.set_level("INFO")
    connection.execute(NO_ROOM)
    connection.execute("UPDATE shop.checkpoint SET version = 0")
    with closing(Follower(database_url, SHOP, retry_seconds=0.5)) as worker:
        for _ in range(3):
            worker.sweep()
        assert "No space left on device" in str(error(connection))
        assert caplog.text.count("rebuilding them") == 1
        connection.execute("DROP EVENT TRIGGER no_room")
        time.sleep(0.5)  # the worker tries again after retry_seconds
        worker.sweep()
        worker.sweep()
    assert (error(connection), status(connection, [SHOP]).projections[0].state) == (None, "live")


def test_tables_that_were_migrated_meanwhile_are_not_replaced_by_older_ones(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    def migrate(_: object) -> None:
        connection.execute("ALTER TABLE shop.users ADD COLUMN IF NOT EXISTS nickname text")

    with pytest.raises(InTheWay, match=r"users\.nickname"):
        replay(database_url, SHOP, migrate)
    assert connection.execute("SELECT nickname FROM shop.users").fetchall()


def test_tables_that_are_ahead_of_a_restored_log_are_noticed_and_replayed(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    """As when an older log is restored beside them: they show what it no longer holds, and would miss what comes."""
    connection.execute("UPDATE shop.checkpoint SET position = position + 3")
    with pytest.raises(AheadOfLog, match="run `orders replay`"):
        Loop(SHOP).project(connection, ALL)
    with closing(Follower(database_url, SHOP)) as projector:
        projector.sweep()
    assert "the log ends at" in str(error(connection))
    replay(database_url, SHOP, nobody)
    shop.user()
    Loop(SHOP).project(connection, ALL)
    assert error(connection) is None
    assert verify(database_url, SHOP, nobody).differences == []
