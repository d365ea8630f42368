"""Settings that operators made on the read tables, which a replay carries over to the new ones.

Owner, privileges, row security, publications, storage options, statistics, column defaults, comments, replica identity
and the mark of CLUSTER belong to a table, not to its name. The swap reads each of them from the serving tables as a
statement, before it renames the schemas, and runs the statements on the new tables, after it has renamed them: so a
policy's subquery means the new tables. A column that this release has dropped takes its settings with it. The replay
refuses to begin, and says why, when it finds something that it cannot carry over.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from psycopg import Connection

# The serving schema is %(old)s. The new tables are in %(new)s, and have the name of %(old)s when the statements run.
_TABLES = """
WITH tables AS (
    SELECT class.*, format('%%I.%%I', %(old)s::text, class.relname) AS new_name,
        new.oid AS new_oid, new.relowner AS new_owner, new.relacl AS new_acl
    FROM pg_class AS class JOIN pg_class AS new USING (relname)
    WHERE class.relnamespace = to_regnamespace(%(old)s::text) AND new.relnamespace = to_regnamespace(%(new)s::text)
        AND class.relkind = 'r'
)
"""

# The order matters: privileges before the owner, because the role that made the tables then still owns them.
_STATEMENTS = (
    # Default privileges of the role that runs the replay. The privileges of the serving tables follow.
    """
SELECT DISTINCT format('REVOKE ALL ON %%s FROM %%s', new_name,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END)
FROM tables, aclexplode(new_acl) AS acl WHERE acl.grantee <> new_owner
UNION
SELECT DISTINCT format('REVOKE ALL ON SCHEMA %%I FROM %%s', %(old)s::text,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END)
FROM pg_namespace AS schema, aclexplode(nspacl) AS acl WHERE nspname = %(new)s::text AND acl.grantee <> nspowner
""",
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
    # Columns: statistics targets, options, storage, compression, defaults, comments.
    """
SELECT format('ALTER TABLE %%s ALTER COLUMN %%I %%s', new_name, attname, change)
FROM tables JOIN pg_attribute AS old ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
    JOIN pg_type AS type ON type.oid = old.atttypid,
    LATERAL (VALUES
        (CASE WHEN attstattarget IS NOT NULL THEN format('SET STATISTICS %%s', attstattarget) END),
        (CASE WHEN attoptions IS NOT NULL THEN format('SET (%%s)', array_to_string(attoptions, ', ')) END),
        (CASE WHEN attstorage <> typstorage THEN 'SET STORAGE ' || CASE attstorage
            WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END),
        (CASE attcompression WHEN 'p' THEN 'SET COMPRESSION pglz' WHEN 'l' THEN 'SET COMPRESSION lz4' END),
        ((SELECT 'SET DEFAULT ' || pg_get_expr(adbin, adrelid) FROM pg_attrdef
          WHERE adrelid = attrelid AND adnum = attnum AND attgenerated = ''))
    ) AS changes (change)
WHERE change IS NOT NULL AND EXISTS (SELECT FROM pg_attribute AS new WHERE attrelid = new_oid AND attname = old.attname)
""",
    """
SELECT format('COMMENT ON SCHEMA %%I IS %%L', %(old)s::text, obj_description(oid, 'pg_namespace'))
FROM pg_namespace WHERE nspname = %(old)s::text AND obj_description(oid, 'pg_namespace') IS NOT NULL
UNION ALL
SELECT format('COMMENT ON TABLE %%s IS %%L', new_name, obj_description(oid, 'pg_class'))
FROM tables WHERE obj_description(oid, 'pg_class') IS NOT NULL
UNION ALL
SELECT format('COMMENT ON COLUMN %%s.%%I IS %%L', new_name, attname, col_description(tables.oid, attnum))
FROM tables JOIN pg_attribute AS old ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
WHERE col_description(tables.oid, attnum) IS NOT NULL
    AND EXISTS (SELECT FROM pg_attribute AS new WHERE attrelid = new_oid AND attname = old.attname)
""",
    # Indexes and constraints, by name: comments, storage options, and the index that CLUSTER takes.
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
UNION ALL
SELECT format('COMMENT ON CONSTRAINT %%I ON %%s IS %%L', old.conname, new_name,
    obj_description(old.oid, 'pg_constraint'))
FROM tables JOIN pg_constraint AS old ON conrelid = tables.oid
WHERE obj_description(old.oid, 'pg_constraint') IS NOT NULL
    AND EXISTS (SELECT FROM pg_constraint AS new WHERE conrelid = new_oid AND new.conname = old.conname)
""",
    # Replica identity by index cannot be carried over by name here: see _NOT_CARRIED.
    """
SELECT format('ALTER TABLE %%s REPLICA IDENTITY %%s', new_name,
    CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)
FROM tables WHERE relreplident IN ('f', 'n')
""",
    """
SELECT format('ALTER TABLE %%s ENABLE ROW LEVEL SECURITY', new_name) FROM tables WHERE relrowsecurity
UNION ALL
SELECT format('ALTER TABLE %%s FORCE ROW LEVEL SECURITY', new_name) FROM tables WHERE relforcerowsecurity
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
SELECT format('COMMENT ON POLICY %%I ON %%s IS %%L', polname, new_name, obj_description(policy.oid, 'pg_policy'))
FROM tables JOIN pg_policy AS policy ON polrelid = tables.oid
WHERE obj_description(policy.oid, 'pg_policy') IS NOT NULL
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
    """
SELECT format('GRANT %%s ON SCHEMA %%I TO %%s%%s', acl.privilege_type, %(old)s::text,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END,
    CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_namespace AS schema, aclexplode(schema.nspacl) AS acl
WHERE schema.nspname = %(old)s::text AND acl.grantee <> schema.nspowner
UNION ALL
SELECT format('GRANT %%s ON %%s TO %%s%%s', acl.privilege_type, new_name,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END,
    CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM tables, aclexplode(relacl) AS acl WHERE acl.grantee <> relowner
UNION ALL
SELECT format('GRANT %%s (%%I) ON %%s TO %%s%%s', acl.privilege_type, attname, new_name,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END,
    CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM tables JOIN pg_attribute AS old ON attrelid = tables.oid AND NOT attisdropped, aclexplode(attacl) AS acl
WHERE EXISTS (SELECT FROM pg_attribute AS new WHERE attrelid = new_oid AND attname = old.attname)
""",
    # Default privileges of the schema. They come after the tables, which must not get them.
    """
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %%s IN SCHEMA %%I GRANT %%s ON %%s TO %%s%%s', defaclrole::regrole,
    %(old)s::text, acl.privilege_type, CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES'
    WHEN 'f' THEN 'FUNCTIONS' ELSE 'TYPES' END,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END,
    CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_default_acl, aclexplode(defaclacl) AS acl WHERE defaclnamespace = to_regnamespace(%(old)s::text)
""",
    """
SELECT format('ALTER TABLE %%s OWNER TO %%s', new_name, relowner::regrole) FROM tables WHERE new_owner <> relowner
UNION ALL
SELECT format('ALTER SCHEMA %%I OWNER TO %%s', %(old)s::text, old.nspowner::regrole)
FROM pg_namespace AS old, pg_namespace AS new
WHERE old.nspname = %(old)s::text AND new.nspname = %(new)s::text AND old.nspowner <> new.nspowner
""",
)

# Settings without a statement above, as descriptions. Objects of the release itself are in both schemas in the end.
_NOT_CARRIED = """
WITH tables AS (
    SELECT class.* FROM pg_class AS class JOIN pg_namespace AS schema ON schema.oid = relnamespace
    WHERE nspname = %(old)s::text AND relkind = 'r'
)
SELECT pg_describe_object('pg_trigger'::regclass, trigger.oid, 0)
FROM pg_trigger AS trigger JOIN tables ON tables.oid = tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT pg_describe_object('pg_rewrite'::regclass, rule.oid, 0)
FROM pg_rewrite AS rule JOIN tables ON tables.oid = ev_class
UNION ALL
SELECT pg_describe_object('pg_statistic_ext'::regclass, statistics.oid, 0)
FROM pg_statistic_ext AS statistics JOIN tables ON tables.oid = stxrelid
UNION ALL
SELECT 'the replica identity index of ' || tables.oid::regclass FROM tables WHERE relreplident = 'i'
UNION ALL
SELECT 'the tablespace of ' || tables.oid::regclass FROM tables WHERE reltablespace <> 0
UNION ALL
SELECT 'the tablespace of index ' || indexrelid::regclass FROM tables JOIN pg_index ON indrelid = tables.oid
    JOIN pg_class AS index ON index.oid = indexrelid WHERE index.reltablespace <> 0
UNION ALL
SELECT 'the inheritance of ' || inhrelid::regclass FROM pg_inherits JOIN tables ON tables.oid IN (inhrelid, inhparent)
UNION ALL
SELECT format('the security label of %%s', objoid::regclass) FROM pg_seclabel JOIN tables ON tables.oid = objoid
WHERE classoid = 'pg_class'::regclass
UNION ALL
SELECT 'the owner ' || relowner::regrole || ' of ' || oid::regclass FROM tables
WHERE NOT pg_has_role(relowner, 'SET')
UNION ALL
SELECT 'publication ' || quote_ident(pubname) || ' of another owner' FROM pg_publication AS publication
WHERE NOT pg_has_role(pubowner, 'USAGE') AND (
    EXISTS (SELECT FROM pg_publication_rel JOIN tables ON tables.oid = prrelid WHERE prpubid = publication.oid)
    OR EXISTS (SELECT FROM pg_publication_namespace
        WHERE pnpubid = publication.oid AND pnnspid = to_regnamespace(%(old)s::text)))
UNION ALL
SELECT DISTINCT 'default privileges of role ' || defaclrole::regrole FROM pg_default_acl
WHERE defaclnamespace = to_regnamespace(%(old)s::text) AND NOT pg_has_role(defaclrole, 'USAGE')
UNION
-- A function, a sequence, a type; projector/dependents.py finds tables and views by their columns.
SELECT pg_describe_object(classid, objid, 0)
FROM pg_depend LEFT JOIN pg_class AS class ON classid = 'pg_class'::regclass AND class.oid = objid
WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace(%(old)s::text) AND deptype = 'n'
    AND (class.oid IS NULL OR relkind = 'S')
UNION ALL
SELECT oid::regclass || ' being unlogged' FROM tables WHERE relpersistence = 'u'
UNION ALL
SELECT 'the comment or the grants of type ' || tables.reltype::regtype
FROM tables JOIN pg_type AS type ON type.oid = tables.reltype
WHERE typacl IS NOT NULL OR obj_description(type.oid, 'pg_type') IS NOT NULL
UNION ALL
SELECT pg_describe_object('pg_class'::regclass, indexrelid, 0) FROM pg_index JOIN tables ON tables.oid = indrelid
    JOIN pg_class AS index ON index.oid = indexrelid
WHERE index.relname <> ALL (%(made)s)
UNION ALL
SELECT pg_describe_object('pg_constraint'::regclass, con.oid, 0)
FROM pg_constraint AS con JOIN tables ON tables.oid = conrelid
WHERE contype IN ('c', 'f', 'n') AND con.conname <> ALL (%(made)s)
UNION
SELECT 'the disabled triggers of ' || tables.oid::regclass
FROM pg_trigger JOIN tables ON tables.oid = tgrelid WHERE tgisinternal AND tgenabled <> 'O'
UNION
SELECT 'the privileges that the owner of ' || tables.oid::regclass || ' lacks'
FROM tables, aclexplode(acldefault('r', relowner)) AS usual
WHERE relacl IS NOT NULL AND usual.grantee = relowner AND NOT EXISTS (
    SELECT FROM aclexplode(relacl) AS acl WHERE acl.grantee = relowner AND acl.privilege_type = usual.privilege_type)
ORDER BY 1
"""

# Objects that this release makes too, under the same name, but defines in another way.
_CHANGED = """
WITH tables AS (
    SELECT class.oid, relname, nspname FROM pg_class AS class JOIN pg_namespace AS schema ON schema.oid = relnamespace
    WHERE nspname IN (%(old)s, %(new)s) AND relkind = 'r'
), definitions AS (
    SELECT nspname, format('column %%I.%%I', relname, attname) AS name, concat_ws(' ',
        format_type(atttypid, atttypmod), CASE WHEN attcollation <> typcollation THEN attcollation::regcollation END,
        attidentity, attgenerated) AS definition
    FROM tables JOIN pg_attribute ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
        JOIN pg_type AS type ON type.oid = atttypid
    UNION ALL
    SELECT nspname, format('constraint %%I on table %%I', conname, relname), pg_get_constraintdef(con.oid)
    FROM tables JOIN pg_constraint AS con ON conrelid = tables.oid
    UNION ALL
    SELECT nspname, format('index %%s', replace(indexrelid::regclass::text, quote_ident(nspname) || '.', '')),
        pg_get_indexdef(indexrelid)
    FROM tables JOIN pg_index ON indrelid = tables.oid
)
SELECT 'the changed ' || name FROM definitions AS old JOIN definitions AS new USING (name)
WHERE old.nspname = %(old)s AND new.nspname = %(new)s
    -- Options of storage are carried over.
    AND regexp_replace(replace(old.definition, quote_ident(%(old)s) || '.', ''), ' WITH [(][^)]*[)]', '')
        <> replace(new.definition, quote_ident(%(new)s) || '.', '')
ORDER BY 1
"""


def not_carried(connection: Connection, old: str, new: str, made: Collection[str], *, same: bool) -> list[str]:
    """Name what is set on the tables of schema `old` and cannot be carried over to `new`.

    `made` are the names of indexes and constraints that a release of ours has made itself. `same`: both schemas are of
    one version, so that a difference of definitions is not ours.
    """
    queries = (_NOT_CARRIED, _CHANGED) if same else (_NOT_CARRIED,)
    found = [connection.execute(it.encode(), {"old": old, "new": new, "made": list(made)}) for it in queries]
    return [name for cursor in found for (name,) in cursor.fetchall()]


def statements(connection: Connection, old: str, new: str) -> list[str]:
    """Return the statements that set on the tables of `new`, once renamed to `old`, what is set on `old`.

    Needs an open transaction.
    """
    found: list[str] = []
    with names_in_full(connection):
        for query in _STATEMENTS:
            rows = connection.execute((_TABLES + query).encode(), {"old": old, "new": new}).fetchall()
            found += [statement for (statement,) in rows if statement is not None]
    return found


@contextmanager
def names_in_full(connection: Connection) -> Iterator[None]:
    """Let PostgreSQL print names with their schema; only here, as event triggers' functions need the search path."""
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL search_path = pg_catalog")
        yield
