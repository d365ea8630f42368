"""Settings that operators made on the read tables, and that no replay can carry over: it names them before the work."""

from collections.abc import Collection

from psycopg import Connection

from projector.heritage import names_in_full

_TABLES = (
    "WITH tables AS (SELECT * FROM pg_class WHERE relnamespace = to_regnamespace(%(old)s::text) AND relkind = 'r')"
)

# Objects that others have added to the tables. A mirror's rebuild drops them (docs/mirrors.md).
_ADDED = """
SELECT pg_describe_object('pg_trigger'::regclass, trigger.oid, 0)
FROM pg_trigger AS trigger JOIN tables ON tables.oid = tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT pg_describe_object('pg_class'::regclass, indexrelid, 0) FROM pg_index JOIN tables ON tables.oid = indrelid
    JOIN pg_class AS index ON index.oid = indexrelid
-- REINDEX CONCURRENTLY builds one beside ours, or was cancelled and has left it.
WHERE regexp_replace(index.relname, '_cc(new|old)[0-9]*$', '') <> ALL (%(made)s)
UNION ALL
SELECT pg_describe_object('pg_constraint'::regclass, con.oid, 0)
FROM pg_constraint AS con JOIN tables ON tables.oid = conrelid
WHERE contype IN ('c', 'f', 'n') AND con.conname <> ALL (%(made)s)
ORDER BY 1
"""

# Settings without a statement in projector/heritage.py. Objects of the release itself are in both schemas.
_NOT_CARRIED = """
SELECT pg_describe_object('pg_rewrite'::regclass, rule.oid, 0)
FROM pg_rewrite AS rule JOIN tables ON tables.oid = ev_class
UNION ALL
SELECT pg_describe_object('pg_statistic_ext'::regclass, statistics.oid, 0)
FROM pg_statistic_ext AS statistics JOIN tables ON tables.oid = stxrelid
UNION ALL
SELECT 'the replica identity index of ' || tables.oid::regclass::text FROM tables WHERE relreplident = 'i'
UNION ALL
-- The new tables are where default_tablespace and default_table_access_method say.
SELECT kept || CASE old.relkind WHEN 'i' THEN ' of index ' ELSE ' of ' END || old.oid::regclass::text
FROM pg_class AS old JOIN pg_class AS new USING (relname, relkind),
    LATERAL (VALUES ('the tablespace', old.reltablespace, new.reltablespace),
        ('the access method', old.relam, new.relam)) AS place (kept, before, after)
WHERE old.relnamespace = to_regnamespace(%(old)s::text) AND new.relnamespace = to_regnamespace(%(new)s::text)
    AND relkind IN ('r', 'i') AND before <> after AND before NOT IN (0, (SELECT oid FROM pg_am WHERE amname = 'heap'))
UNION ALL
SELECT 'the inheritance of ' || inhrelid::regclass::text
FROM pg_inherits JOIN tables ON tables.oid IN (inhrelid, inhparent)
UNION ALL
SELECT 'the security label of ' || pg_describe_object(classoid, objoid, objsubid) FROM pg_seclabel
WHERE classoid = 'pg_class'::regclass AND objoid IN (SELECT oid FROM tables)
    OR classoid = 'pg_type'::regclass AND objoid IN (SELECT reltype FROM tables)
    OR classoid = 'pg_namespace'::regclass AND objoid = to_regnamespace(%(old)s::text)
UNION ALL
SELECT 'the owner ' || relowner::regrole::text || ' of ' || oid::regclass::text FROM tables
WHERE NOT (pg_has_role(relowner, 'SET') AND pg_has_role(relowner, 'USAGE'))
UNION ALL
SELECT 'publication ' || quote_ident(pubname) || ' of another owner' FROM pg_publication AS publication
WHERE NOT pg_has_role(pubowner, 'USAGE') AND (
    EXISTS (SELECT FROM pg_publication_rel JOIN tables ON tables.oid = prrelid WHERE prpubid = publication.oid)
    OR EXISTS (SELECT FROM pg_publication_namespace
        WHERE pnpubid = publication.oid AND pnnspid = to_regnamespace(%(old)s::text)))
UNION ALL
SELECT 'subscription ' || quote_ident(subname) || ' to ' || srrelid::regclass::text
FROM pg_subscription_rel JOIN pg_subscription AS subscription ON subscription.oid = srsubid
WHERE srrelid IN (SELECT oid FROM tables)
UNION ALL
SELECT DISTINCT 'default privileges of role ' || defaclrole::regrole::text FROM pg_default_acl
WHERE defaclnamespace = to_regnamespace(%(old)s::text) AND NOT pg_has_role(defaclrole, 'USAGE')
UNION
-- A function, a sequence, a type; projector/dependents.py finds tables and views by their columns.
SELECT pg_describe_object(classid, objid, 0)
FROM pg_depend LEFT JOIN pg_class AS class ON classid = 'pg_class'::regclass AND class.oid = objid
WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace(%(old)s::text) AND deptype = 'n'
    AND (class.oid IS NULL OR relkind = 'S')
UNION ALL
SELECT DISTINCT 'the mark of ' || pg_describe_object(refclassid, refobjid, 0) || ' on '
    || pg_describe_object(classid, objid, 0)
FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND (
    classid = 'pg_namespace'::regclass AND objid = to_regnamespace(%(old)s::text)
    OR classid = 'pg_class'::regclass AND (objid IN (SELECT oid FROM tables)
        OR objid IN (SELECT indexrelid FROM pg_index JOIN tables ON tables.oid = indrelid)))
UNION
-- GRANT can only be repeated in the name of the owner: a REVOKE from the grantor would no longer reach the grantee.
SELECT format('what role %%s has granted on %%s', grantor::regrole, object) FROM (
    SELECT relowner AS owner, oid::regclass::text AS object, acl.grantor FROM tables, aclexplode(relacl) AS acl
    UNION
    SELECT relowner, oid::regclass::text, acl.grantor FROM tables
        JOIN pg_attribute ON attrelid = tables.oid, aclexplode(attacl) AS acl
    UNION
    SELECT nspowner, 'schema ' || nspname, acl.grantor FROM pg_namespace, aclexplode(nspacl) AS acl
    WHERE nspname = %(old)s::text
) AS granted WHERE grantor <> owner
UNION
SELECT oid::regclass::text || ' being unlogged' FROM tables WHERE relpersistence = 'u'
UNION ALL
SELECT oid::regclass::text || ' being a table of type ' || reloftype::regtype::text FROM tables WHERE reloftype <> 0
UNION ALL
SELECT 'the comment or the grants of type ' || type.oid::regtype::text
FROM tables JOIN pg_type AS type ON reltype IN (type.oid, typelem)
WHERE typacl IS NOT NULL OR obj_description(type.oid, 'pg_type') IS NOT NULL
UNION
SELECT 'the disabled triggers of ' || tables.oid::regclass::text
FROM pg_trigger JOIN tables ON tables.oid = tgrelid WHERE tgisinternal AND tgenabled <> 'O'
UNION
SELECT 'the privileges that the owner of ' || object || ' lacks' FROM (
    SELECT oid::regclass::text, 'r'::"char", relowner, relacl FROM tables
    UNION ALL
    SELECT 'schema ' || nspname, 'n', nspowner, nspacl FROM pg_namespace WHERE nspname = %(old)s::text
) AS owned (object, kind, owner, acl), aclexplode(acldefault(kind, owner)) AS usual
WHERE acl IS NOT NULL AND usual.grantee = owner AND NOT EXISTS (
    SELECT FROM aclexplode(acl) AS has WHERE has.grantee = owner AND has.privilege_type = usual.privilege_type)
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


def settings(connection: Connection, old: str, new: str) -> list[str]:
    """Name what is set on the tables of schema `old` and cannot be carried over to `new`."""
    return _names(connection, _TABLES + _NOT_CARRIED, old=old, new=new)


def additions(connection: Connection, old: str, made: Collection[str]) -> list[str]:
    """Name the triggers, indexes and constraints of the tables that are not among `made`, the names of our releases."""
    return _names(connection, _TABLES + _ADDED, old=old, made=list(made))


def changes(connection: Connection, old: str, new: str) -> list[str]:
    """Name what others have changed on the tables of schema `old`, if both schemas are of one version."""
    return _names(connection, _CHANGED, old=old, new=new)


def _names(connection: Connection, query: str, **parameters: str | list[str]) -> list[str]:
    with names_in_full(connection):
        return [name for (name,) in connection.execute(query.encode(), parameters).fetchall()]
