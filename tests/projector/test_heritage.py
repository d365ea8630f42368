"""A replay keeps what others have set on the read tables, or refuses before the work and names it."""

import psycopg
import pytest
from psycopg import Connection

from projector.dependents import InTheWay
from projector.loop import Progress
from projector.projections.shop import SHOP
from projector.replay import replay
from tests.builders import Writing
from tests.projector.event_triggers import SECURE, for_each_new_table

ALL = 100_000

SETTINGS = """
SELECT 'schema', nspname, nspowner::regrole::text,
    ARRAY(SELECT acl::text FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) AS acl ORDER BY 1)::text,
    obj_description(oid)
FROM pg_namespace WHERE nspname = 'shop'
UNION ALL
SELECT 'table', relname, relowner::regrole::text
    || ARRAY(SELECT acl::text FROM unnest(coalesce(relacl, acldefault('r', relowner))) AS acl ORDER BY 1)::text,
    concat_ws(' ', reloptions, (SELECT reloptions FROM pg_class AS toast WHERE toast.oid = class.reltoastrelid)),
    concat_ws(' ', relrowsecurity, relforcerowsecurity, relreplident, obj_description(oid))
FROM pg_class AS class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r'
UNION ALL
SELECT 'column', attrelid::regclass || '.' || attname, concat_ws(' ', attstattarget, attoptions, attstorage,
    attcompression, pg_get_expr(adbin, adrelid)), attacl::text, col_description(attrelid, attnum)
FROM pg_attribute JOIN pg_class AS class ON class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r' AND attnum > 0
UNION ALL
SELECT 'policy', tablename || '.' || policyname, roles::text || permissive || cmd, qual, concat(with_check,
    (SELECT obj_description(oid, 'pg_policy') FROM pg_policy WHERE polname = policyname))
FROM pg_policies WHERE schemaname = 'shop'
UNION ALL
SELECT 'index', relname, obj_description(oid, 'pg_class'), indisclustered::text, reloptions::text
FROM pg_class JOIN pg_index ON indexrelid = oid WHERE relnamespace = 'shop'::regnamespace
UNION ALL
SELECT 'constraint', conname, obj_description(oid, 'pg_constraint'), '', ''
FROM pg_constraint WHERE connamespace = 'shop'::regnamespace AND contype <> 'n'
UNION ALL
SELECT 'publication', pubname, tablename, attnames::text, rowfilter FROM pg_publication_tables
WHERE schemaname = 'shop'
UNION ALL
SELECT 'default', defaclrole::regrole::text, defaclobjtype::text, defaclacl::text, ''
FROM pg_default_acl WHERE defaclnamespace = 'shop'::regnamespace
ORDER BY 1, 2, 3
"""


def nobody(_: Progress) -> None:
    """Reports go to nobody."""


@pytest.mark.parametrize(
    "setting",
    [
        "GRANT USAGE ON SCHEMA shop TO {role}; GRANT SELECT (id, name), UPDATE (name) ON shop.users TO {role}",
        "ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY; ALTER TABLE shop.orders FORCE ROW LEVEL SECURITY",
        """ALTER TABLE shop.users ENABLE ROW LEVEL SECURITY;
        CREATE POLICY "mine only" ON shop.users AS RESTRICTIVE FOR SELECT TO {role} USING (name = current_user);
        CREATE POLICY changes ON shop.users FOR UPDATE USING (true) WITH CHECK (name <> '')""",
        "CREATE POLICY joined ON shop.orders USING (EXISTS (SELECT FROM shop.users WHERE users.id = user_id))",
        "CREATE PUBLICATION p FOR TABLE shop.users (id, name), shop.orders WHERE (id IS NOT NULL)",
        "CREATE PUBLICATION p FOR TABLES IN SCHEMA shop",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO {role} WITH GRANT OPTION",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}",
        """ALTER DEFAULT PRIVILEGES REVOKE INSERT ON TABLES FROM CURRENT_USER;
        ALTER DEFAULT PRIVILEGES REVOKE CREATE ON SCHEMAS FROM CURRENT_USER;
        ALTER TABLE shop.orders OWNER TO {role}""",
        """ALTER TABLE shop.orders SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02,
        toast.autovacuum_enabled = false)""",
        """ALTER TABLE shop.orders ALTER note SET STATISTICS 500, ALTER note SET (n_distinct = 9),
        ALTER note SET STORAGE EXTERNAL""",
        """ALTER TABLE shop.users ALTER name SET DEFAULT 'it''s %s';
        ALTER TABLE shop.orders ALTER placed_at SET DEFAULT date_trunc('day', now())""",
        """COMMENT ON TABLE shop.orders IS 'it''s ours'; COMMENT ON COLUMN shop.orders.note IS 'a %s';
        COMMENT ON SCHEMA shop IS 'tables'""",
        """COMMENT ON INDEX shop.orders_total_idx IS 'for a %s report';
        COMMENT ON INDEX shop.users_pkey IS 'it''s the key';
        COMMENT ON CONSTRAINT orders_user_id_fkey ON shop.orders IS 'whose order';
        COMMENT ON CONSTRAINT products_price_check ON shop.products IS 'free is allowed'""",
        """ALTER TABLE shop.orders CLUSTER ON orders_placed_at_idx;
        ALTER INDEX shop.orders_total_idx SET (fillfactor = 70)""",
        """ALTER TABLE shop.users ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON shop.users USING (true);
        COMMENT ON POLICY all_rows ON shop.users IS 'ours'""",
        "ALTER TABLE shop.orders REPLICA IDENTITY FULL; ALTER TABLE shop.users REPLICA IDENTITY NOTHING",
        """ALTER TABLE shop.orders OWNER TO {role}; ALTER SCHEMA shop OWNER TO {role};
        GRANT SELECT ON shop.orders TO PUBLIC""",
    ],
)
def test_a_replay_keeps_settings_of_others_on_the_read_tables(
    shop: Writing, database_url: str, connection: Connection, reporter: str, setting: str
) -> None:
    untouched = connection.execute(SETTINGS.encode()).fetchall()
    connection.execute(setting.replace("{role}", reporter).encode())
    before = connection.execute(SETTINGS.encode()).fetchall()
    assert before != untouched or "DEFAULT" in setting
    for _ in range(2):
        replay(database_url, SHOP, nobody)
        assert connection.execute(SETTINGS.encode()).fetchall() == before


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("CREATE INDEX by_note ON shop.orders (note)", "index shop.by_note"),
        ("ALTER TABLE shop.orders ADD CONSTRAINT short CHECK (length(note) < 9999)", "constraint short on table"),
        ("CREATE STATISTICS shop.pair ON id, user_id FROM shop.orders", "statistics object shop.pair"),
        (
            "CREATE TRIGGER t BEFORE TRUNCATE ON shop.orders EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "trigger t on table shop.orders",
        ),
        ("CREATE RULE r AS ON DELETE TO shop.orders DO ALSO NOTIFY gone", "rule r on table shop.orders"),
        ("CREATE SEQUENCE shop.numbers", "sequence shop.numbers"),
        ("CREATE FUNCTION shop.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", r"function shop.f\(\)"),
        ("ALTER TABLE shop.order_items SET UNLOGGED", "shop.order_items being unlogged"),
        ("COMMENT ON TYPE shop.orders IS 'a row'", "the comment or the grants of type shop.orders"),
        ("ALTER TABLE shop.orders ALTER note SET NOT NULL", "constraint orders_note_not_null on table shop.orders"),
        ('ALTER TABLE shop.products ALTER sku TYPE text COLLATE "C"', "the changed column products.sku"),
        ("ALTER TABLE shop.orders ALTER CONSTRAINT orders_user_id_fkey DEFERRABLE", "constraint orders_user_id_fkey"),
        (
            """ALTER TABLE shop.products DROP CONSTRAINT products_stock_check;
            ALTER TABLE shop.products ADD CONSTRAINT products_stock_check CHECK (stock >= -5)""",
            "the changed constraint products_stock_check on table products",
        ),
        (
            "DROP INDEX shop.orders_total_idx; CREATE INDEX orders_total_idx ON shop.orders (total) INCLUDE (status)",
            "the changed index orders_total_idx",
        ),
        ("ALTER TABLE shop.orders DISABLE TRIGGER ALL", "the disabled triggers of shop.orders"),
        ("REVOKE UPDATE ON shop.orders FROM CURRENT_USER", "the privileges that the owner of shop.orders lacks"),
        ("REVOKE CREATE ON SCHEMA shop FROM CURRENT_USER", "the privileges that the owner of schema shop lacks"),
        (
            """CREATE TYPE public.listed AS (stream text, position bigint, version int, type text, error text,
            behind text, skipped boolean, parked_at timestamptz); ALTER TABLE shop.parked OF public.listed""",
            "shop.parked being a table of type public.listed",
        ),
        (
            """CREATE ACCESS METHOD sealed TYPE TABLE HANDLER heap_tableam_handler;
            ALTER TABLE shop.orders SET ACCESS METHOD sealed""",
            "the access method of shop.orders",
        ),
        (
            """SET allow_system_table_mods = on; INSERT INTO pg_seclabel
            VALUES ('shop'::regnamespace, 'pg_namespace'::regclass, 0, 'some', 'secret')""",
            "the security label of schema shop",
        ),
        (
            """SET allow_system_table_mods = on; INSERT INTO pg_seclabel
            VALUES ('shop.users'::regtype, 'pg_type'::regclass, 0, 'some', 'secret')""",
            "the security label of type shop.users",
        ),
        ("COMMENT ON TYPE shop._orders IS 'rows'", r"the comment or the grants of type shop.orders\[\]"),
        ("CREATE MATERIALIZED VIEW shop.sums AS SELECT sum(total) FROM shop.orders", "has made: sums"),
        ("CREATE TABLE shop.empty ()", "has made: empty"),
        ("ALTER EXTENSION plpgsql ADD TABLE shop.users", "the mark of extension plpgsql on table shop.users"),
        ("ALTER EXTENSION plpgsql ADD SCHEMA shop", "the mark of extension plpgsql on schema shop"),
        (
            "ALTER INDEX shop.orders_total_idx DEPENDS ON EXTENSION plpgsql",
            "the mark of extension plpgsql on index shop.orders_total_idx",
        ),
        (
            """CREATE VIEW public.open AS SELECT * FROM shop.orders;
            CREATE RULE ended AS ON DELETE TO public.open DO INSTEAD DELETE FROM shop.orders WHERE false""",
            "rule ended on view",
        ),
    ],
)
def test_a_replay_refuses_early_if_it_cannot_carry_a_setting_over(
    shop: Writing, database_url: str, connection: Connection, setting: str, named: str
) -> None:
    connection.execute(setting.encode())
    reports: list[Progress] = []
    with pytest.raises(InTheWay, match=named):
        replay(database_url, SHOP, reports.append)
    assert reports == []


def test_row_security_that_an_event_trigger_turns_on_for_new_tables_hides_no_rows_of_the_read_tables(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    """The API's role would see nothing."""
    connection.execute(SECURE)
    before = connection.execute(SETTINGS.encode()).fetchall()
    replay(database_url, SHOP, nobody)
    assert connection.execute(SETTINGS.encode()).fetchall() == before


@pytest.mark.parametrize("policy", ["", "CREATE POLICY every_table ON %1$s USING (true)"])
def test_an_event_trigger_that_forces_row_security_on_new_tables_stops_no_rebuild_by_their_owner(
    owner_url: str, connection: Connection, policy: str
) -> None:
    secured = f"ALTER TABLE %1$s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; {policy}"
    connection.execute(for_each_new_table("secure", secured))
    if policy:
        connection.execute("CREATE POLICY every_table ON shop.orders USING (true)")
    before = connection.execute(SETTINGS.encode()).fetchall()
    for _ in range(2):
        replay(owner_url, SHOP, nobody)
        assert connection.execute(SETTINGS.encode()).fetchall() == before


def test_a_table_that_is_new_in_a_release_has_the_owner_and_the_default_privileges_of_its_schema(
    owner_url: str, database_url: str, connection: Connection, reporter: str
) -> None:
    owner = connection.execute("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'shop'").fetchall()
    connection.execute(
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner[0][0]} IN SCHEMA shop GRANT SELECT ON TABLES TO {reporter}; "
        "DROP SCHEMA reports CASCADE; DROP TABLE shop.order_items".encode()
    )
    replay(database_url, SHOP, nobody)  # by a superuser
    query = """SELECT relowner::regrole::text, has_table_privilege(%s, oid, 'SELECT')
    FROM pg_class WHERE oid = %s::regclass"""
    assert connection.execute(query, (reporter, "shop.order_items")).fetchall() == [(owner[0][0], True)]
    assert connection.execute(query, (reporter, "shop.orders")).fetchall() == [(owner[0][0], False)]


def test_a_replay_names_a_subscription_that_writes_into_the_read_tables(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    """A subscription knows its tables by their identity, and would silently skip the changes of new ones."""
    connection.execute("CREATE SUBSCRIPTION copied CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false)")
    connection.execute(
        b"""SET allow_system_table_mods = on;
        INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
        SELECT oid, 'shop.orders'::regclass, 'r' FROM pg_subscription WHERE subname = 'copied'"""
    )
    try:
        with pytest.raises(InTheWay, match=r"subscription copied to shop\.orders"):
            replay(database_url, SHOP, nobody)
    finally:
        connection.execute("ALTER SUBSCRIPTION copied SET (slot_name = NONE)")
        connection.execute("DROP SUBSCRIPTION copied")


def test_the_tablespace_and_the_access_method_of_new_tables_are_no_obstacle_to_a_replay(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    name = connection.info.dbname
    connection.execute("SET allow_in_place_tablespaces = on")
    connection.execute(f"CREATE TABLESPACE of_{name} LOCATION ''".encode())
    connection.execute("CREATE ACCESS METHOD sealed TYPE TABLE HANDLER heap_tableam_handler")
    connection.execute(f"ALTER DATABASE {name} SET default_tablespace = of_{name}".encode())
    connection.execute(f"ALTER DATABASE {name} SET default_table_access_method = sealed".encode())
    for _ in range(2):
        replay(database_url, SHOP, nobody)
    connection.execute(f"ALTER DATABASE {name} RESET ALL".encode())
    with pytest.raises(
        InTheWay, match=r"the access method of shop\.orders.* the tablespace of index shop\.orders_pkey"
    ):
        replay(database_url, SHOP, nobody)
    connection.execute("DROP SCHEMA shop CASCADE")
    connection.execute(f"DROP TABLESPACE of_{name}".encode())


@pytest.mark.parametrize(
    ("grant", "named"),
    [
        ("SELECT ON shop.orders", "on shop.orders"),
        ("SELECT (id, name) ON shop.users", "on shop.users"),
        ("USAGE ON SCHEMA shop", "on schema shop"),
    ],
)
def test_a_replay_refuses_early_if_another_role_than_the_owner_has_granted_a_privilege(
    shop: Writing, database_url: str, connection: Connection, reporter: str, grant: str, named: str
) -> None:
    connection.execute(f"GRANT USAGE ON SCHEMA shop TO {reporter}".encode())
    connection.execute(f"GRANT {grant} TO {reporter} WITH GRANT OPTION".encode())
    replay(database_url, SHOP, nobody)
    connection.execute(f"SET ROLE {reporter}; GRANT {grant} TO PUBLIC; RESET ROLE".encode())
    with pytest.raises(InTheWay, match=f"what role {reporter} has granted {named}"):
        replay(database_url, SHOP, nobody)


def test_a_column_that_others_declared_not_null_is_named_by_a_newer_release_too(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    connection.execute("ALTER TABLE shop.orders ALTER note SET NOT NULL; UPDATE shop.checkpoint SET version = 0")
    with pytest.raises(InTheWay, match="orders_note_not_null"):
        replay(database_url, SHOP, nobody)


def test_a_replay_replaces_definitions_that_a_newer_release_changed(
    shop: Writing, database_url: str, connection: Connection
) -> None:
    before = connection.execute("SELECT pg_get_indexdef('shop.orders_total_idx'::regclass)").fetchall()
    connection.execute("DROP INDEX shop.orders_total_idx; CREATE INDEX orders_total_idx ON shop.orders (total)")
    connection.execute("ALTER TABLE shop.users ALTER name DROP NOT NULL; UPDATE shop.checkpoint SET version = 0")
    replay(database_url, SHOP, nobody)
    assert connection.execute("SELECT pg_get_indexdef('shop.orders_total_idx'::regclass)").fetchall() == before


def test_a_replay_by_a_role_that_cannot_give_the_tables_to_their_owner_is_refused_before_the_work(
    shop: Writing, database_url: str, connection: Connection, reporter: str
) -> None:
    connection.execute(f"ALTER ROLE {reporter} LOGIN; GRANT pg_read_all_data TO {reporter}".encode())
    connection.execute(f'GRANT CREATE ON DATABASE "{connection.info.dbname}" TO {reporter}'.encode())
    reports: list[Progress] = []
    with pytest.raises((InTheWay, psycopg.errors.InsufficientPrivilege)):
        replay(database_url.replace("orders@", f"{reporter}@", 1), SHOP, reports.append)
    assert reports == []
