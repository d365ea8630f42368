"""Settings that operators made on the read tables, which a replay carries over to the new ones.

They belong to a table, not to its name. The swap reads each from the serving tables as a statement, before it renames
the schemas, and runs the statements on the new tables afterwards: so a policy's subquery means the new tables. A column
that this release has dropped takes its settings with it. projector/uncarried.py finds what cannot be carried over.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from psycopg import Connection

from database.sessions import READS

# The serving schema is %(old)s. The new tables are in %(new)s; that schema is called %(named)s when the statements run.
# `added` are the tables that the serving schema lacks: they get what the schema gives its new tables.
_TABLES = """
WITH tables AS (
    SELECT class.*, format('%%I.%%I', %(named)s::text, class.relname) AS new_name,
        new.oid AS new_oid, new.relowner AS new_owner, new.relacl AS new_acl,
        new.relrowsecurity AS new_row_security, new.relforcerowsecurity AS new_forced
    FROM pg_class AS class JOIN pg_class AS new USING (relname)
    WHERE class.relnamespace = to_regnamespace(%(old)s::text) AND new.relnamespace = to_regnamespace(%(new)s::text)
        AND class.relkind = 'r'
), added AS (
    SELECT format('%%I.%%I', %(old)s::text, relname) AS name, relowner, (
        SELECT nspowner FROM pg_namespace WHERE nspname = %(old)s::text) AS owner
    FROM pg_class WHERE relnamespace = to_regnamespace(%(new)s::text) AND relkind = 'r'
        AND relname NOT IN (SELECT relname FROM tables)
)
"""

_HOLD = """
SELECT format('GRANT ALL ON %%s TO %%s', oid::regclass, relowner::regrole) FROM pg_class
WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r' ORDER BY oid
"""

_GRANT = """
SELECT format('GRANT %%s ON %%s TO %%s%%s', privilege, object,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM ("""

# They take effect with the rows that are written, and with ANALYZE, after them.
_OPTIONS = (
    # Options of storage, of the table and of its TOAST table.
    """
SELECT format('ALTER TABLE %%s SET (%%s)', new_name, (
    SELECT string_agg(format('%%s%%s=%%L', prefix, option_name, option_value), ', ') FROM (
        SELECT '' AS prefix, * FROM pg_options_to_table(tables.reloptions)
        UNION ALL
        SELECT 'toast.', options.* FROM pg_class AS toast, pg_options_to_table(toast.reloptions) AS options
        WHERE toast.oid = tables.reltoastrelid
    ) AS option))
FROM tables LEFT JOIN pg_class AS toast ON toast.oid = tables.reltoastrelid
WHERE tables.reloptions IS NOT NULL OR toast.reloptions IS NOT NULL
""",
    # Columns: statistics targets, options, storage, compression.
    """
SELECT format('ALTER TABLE %%s ALTER COLUMN %%I %%s', new_name, attname, change)
FROM tables JOIN pg_attribute AS old ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
    JOIN pg_type AS type ON type.oid = old.atttypid,
    LATERAL (VALUES
        (CASE WHEN attstattarget IS NOT NULL THEN format('SET STATISTICS %%s', attstattarget) END),
        (CASE WHEN attoptions IS NOT NULL THEN format('SET (%%s)', array_to_string(attoptions, ', ')) END),
        (CASE WHEN attstorage <> typstorage THEN 'SET STORAGE ' || CASE attstorage
            WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END),
        (CASE attcompression WHEN 'p' THEN 'SET COMPRESSION pglz' WHEN 'l' THEN 'SET COMPRESSION lz4' END)
    ) AS changes (change)
WHERE change IS NOT NULL AND EXISTS (SELECT FROM pg_attribute AS new WHERE attrelid = new_oid AND attname = old.attname)
""",
)

# The order matters.
_STATEMENTS = (
    # Undo default privileges of the role that runs the replay. The privileges of the serving tables follow.
    """
SELECT format('GRANT ALL ON %%s TO %%s', new_name, new_owner::regrole) FROM tables WHERE new_acl IS NOT NULL
UNION ALL
SELECT format('GRANT ALL ON SCHEMA %%I TO %%s', %(old)s::text, nspowner::regrole) FROM pg_namespace
WHERE nspname = %(new)s::text AND nspacl IS NOT NULL
""",
    """
SELECT DISTINCT format('REVOKE ALL ON %%s FROM %%s', new_name,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END)
FROM tables, aclexplode(new_acl) AS acl WHERE acl.grantee <> new_owner
UNION
SELECT DISTINCT format('REVOKE ALL ON SCHEMA %%I FROM %%s', %(old)s::text,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END)
FROM pg_namespace AS schema, aclexplode(nspacl) AS acl WHERE nspname = %(new)s::text AND acl.grantee <> nspowner
""",
    *_OPTIONS,
    """
SELECT format('ALTER TABLE %%s ALTER COLUMN %%I SET DEFAULT %%s', new_name, attname, pg_get_expr(adbin, adrelid))
FROM tables JOIN pg_attribute AS old ON attrelid = tables.oid JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attgenerated = '' AND EXISTS (SELECT FROM pg_attribute AS new WHERE attrelid = new_oid AND attname = old.attname)
""",
    # Indexes, by name: comments, storage options, and the one that CLUSTER takes.
    """
SELECT unnest(ARRAY[
    format('COMMENT ON INDEX %%I.%%I IS ', %(old)s::text, old.relname)
        || quote_literal(obj_description(old.oid, 'pg_class')),
    CASE WHEN indisclustered THEN format('ALTER TABLE %%s CLUSTER ON %%I', new_name, old.relname) END,
    'ALTER INDEX ' || format('%%I.%%I', %(old)s::text, old.relname) || ' SET (' || (
        SELECT string_agg(format('%%s=%%L', option_name, option_value), ', ') FROM pg_options_to_table(old.reloptions)
    ) || ')'
])
FROM tables JOIN pg_index ON indrelid = tables.oid JOIN pg_class AS old ON old.oid = indexrelid
WHERE EXISTS (SELECT FROM pg_class AS new WHERE new.relname = old.relname
    AND new.relnamespace = to_regnamespace(%(new)s::text))
""",
    # Replica identity by index cannot be carried over by name here: see projector/uncarried.py.
    """
SELECT format('ALTER TABLE %%s REPLICA IDENTITY %%s', new_name,
    CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)
FROM tables WHERE relreplident IN ('f', 'n')
""",
    # The policies that an event trigger has given the new tables go first.
    """
SELECT format('DROP POLICY %%I ON %%s', polname, new_name) FROM tables JOIN pg_policy ON polrelid = new_oid
UNION ALL
SELECT format('ALTER TABLE %%s %%s ROW LEVEL SECURITY, %%s ROW LEVEL SECURITY', new_name,
    CASE WHEN relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END,
    CASE WHEN relforcerowsecurity THEN 'FORCE' ELSE 'NO FORCE' END)
FROM tables
WHERE (relrowsecurity, relforcerowsecurity) <> (new_row_security, new_forced)
UNION ALL
SELECT format('CREATE POLICY %%I ON %%s AS %%s FOR %%s TO %%s%%s%%s', polname, new_name,
    CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
    CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
        WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
    (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE role::regrole::text END, ', ') FROM unnest(polroles)
    AS role),
    ' USING (' || pg_get_expr(polqual, polrelid) || ')',
    ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')')
FROM tables JOIN pg_policy ON polrelid = tables.oid
""",
    """
SELECT format('COMMENT ON %%s IS %%L', object, comment) FROM (
    SELECT format('SCHEMA %%I', nspname), obj_description(oid, 'pg_namespace') FROM pg_namespace
    WHERE nspname = %(old)s::text
    UNION ALL
    SELECT 'TABLE ' || new_name, obj_description(oid, 'pg_class') FROM tables
    UNION ALL
    SELECT format('COLUMN %%s.%%I', new_name, attname), col_description(tables.oid, attnum)
    FROM tables JOIN pg_attribute AS old ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
    WHERE EXISTS (SELECT FROM pg_attribute AS new WHERE attrelid = new_oid AND attname = old.attname)
    UNION ALL
    SELECT format('CONSTRAINT %%I ON %%s', conname, new_name), obj_description(old.oid, 'pg_constraint')
    FROM tables JOIN pg_constraint AS old ON conrelid = tables.oid
    WHERE EXISTS (SELECT FROM pg_constraint AS new WHERE conrelid = new_oid AND new.conname = old.conname)
    UNION ALL
    SELECT format('POLICY %%I ON %%s', polname, new_name), obj_description(policy.oid, 'pg_policy')
    FROM tables JOIN pg_policy AS policy ON polrelid = tables.oid
) AS commented (object, comment) WHERE comment IS NOT NULL
""",
    # The membership of the retired table ends when it is dropped.
    """
SELECT format('ALTER PUBLICATION %%I ADD TABLE %%s%%s%%s', pubname, new_name,
    (SELECT ' (' || string_agg(format('%%I', attname), ', ') || ')' FROM pg_attribute
     WHERE attrelid = tables.oid AND attnum = ANY (prattrs)),
    ' WHERE (' || pg_get_expr(prqual, prrelid) || ')')
FROM tables JOIN pg_publication_rel ON prrelid = tables.oid
    JOIN pg_publication AS publication ON publication.oid = prpubid
UNION ALL
SELECT format('ALTER PUBLICATION %%I ADD TABLES IN SCHEMA %%I', pubname, %(old)s::text)
FROM pg_publication_namespace JOIN pg_publication AS publication ON publication.oid = pnpubid
WHERE pnnspid = to_regnamespace(%(old)s::text)
""",
    # The schema first: its owner, who mostly owns the tables too, may have them only with a right to make tables there.
    """
SELECT format('ALTER SCHEMA %%I OWNER TO %%s', %(old)s::text, old.nspowner::regrole)
FROM pg_namespace AS old, pg_namespace AS new
WHERE old.nspname = %(old)s::text AND new.nspname = %(new)s::text AND old.nspowner <> new.nspowner
""",
    # A new owner takes over the privileges of the role that runs the replay: so privileges come after the owner.
    f"""
{_GRANT}
SELECT privilege_type, format('SCHEMA %%I', nspname), grantee, is_grantable
FROM pg_namespace, aclexplode(nspacl) WHERE nspname = %(old)s::text AND grantee <> nspowner
) AS granted (privilege, object, grantee, is_grantable)
""",  # noqa: S608 - constants
    # Default privileges of the role that runs the replay are not those of a table that is new in a release.
    """
SELECT format('REVOKE ALL ON %%s FROM %%s', name,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END)
FROM added JOIN pg_default_acl ON defaclrole = relowner, aclexplode(defaclacl) AS acl
WHERE defaclnamespace = 0 AND defaclobjtype = 'r' AND acl.grantee <> relowner AND relowner <> owner
""",
    """
SELECT format('ALTER TABLE %%s OWNER TO %%s', new_name, relowner::regrole) FROM tables WHERE new_owner <> relowner
UNION ALL
SELECT format('ALTER TABLE %%s OWNER TO %%s', name, owner::regrole) FROM added WHERE owner <> relowner
""",
    f"""
{_GRANT}
    SELECT privilege_type, new_name, grantee, is_grantable FROM tables, aclexplode(relacl) WHERE grantee <> relowner
    UNION ALL
    SELECT format('%%s (%%I)', privilege_type, attname), new_name, grantee, is_grantable
    FROM tables JOIN pg_attribute AS old ON attrelid = tables.oid AND NOT attisdropped, aclexplode(attacl)
    WHERE EXISTS (SELECT FROM pg_attribute AS new WHERE attrelid = new_oid AND attname = old.attname)
    UNION ALL
    SELECT acl.privilege_type, name, acl.grantee, acl.is_grantable
    FROM added JOIN pg_default_acl ON defaclrole = owner, aclexplode(defaclacl) AS acl
    WHERE defaclnamespace IN (0, to_regnamespace(%(old)s::text)) AND defaclobjtype = 'r' AND acl.grantee <> owner
) AS granted (privilege, object, grantee, is_grantable)
""",  # noqa: S608 - constants
    # Default privileges of the schema. They come after the tables, which must not get them.
    """
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %%s IN SCHEMA %%I GRANT %%s ON %%s TO %%s%%s', defaclrole::regrole,
    %(old)s::text, acl.privilege_type, CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES'
    WHEN 'f' THEN 'FUNCTIONS' ELSE 'TYPES' END,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END,
    CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_default_acl, aclexplode(defaclacl) AS acl WHERE defaclnamespace = to_regnamespace(%(old)s::text)
""",
)


def statements(connection: Connection, old: str, new: str) -> list[str]:
    """The statements that set on the tables of `new`, once renamed to `old`, what is set on `old`."""
    return _read(connection, _STATEMENTS, old=old, new=new, named=old)


def hold(connection: Connection, schema: str) -> None:
    """Until the end of the transaction, make a GRANT ON ALL TABLES IN SCHEMA of another session wait, and then fail.

    Such a GRANT locks no table, so it would change the tables that the swap retires. This function grants each owner
    the privileges that he already has: PostgreSQL then writes the same rows of pg_class as the other session's GRANT.
    """
    with names_in_full(connection):
        grants = connection.execute(_HOLD, (schema,)).fetchall()
    for (grant,) in grants:
        connection.execute(grant.encode())


def options(connection: Connection, old: str, new: str) -> list[str]:
    """Those of the statements that must come before the rows, and before ANALYZE, for the tables as they are called."""
    return _read(connection, _OPTIONS, old=old, new=new, named=new)


def _read(connection: Connection, queries: Iterable[str], **names: str) -> list[str]:
    found: list[str] = []
    with names_in_full(connection):
        for query in queries:
            rows = connection.execute((_TABLES + query).encode(), names).fetchall()
            found += [statement for (statement,) in rows if statement is not None]
    return found


@contextmanager
def names_in_full(connection: Connection) -> Iterator[None]:
    """Find nothing in public, and let PostgreSQL print names with their schema.

    Only where no event trigger fires: its function may need the usual search path.
    """
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL search_path = {READS['search_path']}".encode())
        yield
