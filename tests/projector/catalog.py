"""What PostgreSQL knows of the tables of a schema, but for its name: to tell that two schemas are the same."""

from typing import Any

from psycopg import Connection

_COLUMNS = """
SELECT class.relname, column_.attnum, column_.attname, format_type(column_.atttypid, column_.atttypmod),
       column_.attnotnull, pg_get_expr(def.adbin, def.adrelid), coll.collname,
       col_description(class.oid, column_.attnum), column_.attstorage, column_.attacl::text
FROM pg_class AS class JOIN pg_attribute AS column_ ON column_.attrelid = class.oid
    LEFT JOIN pg_attrdef AS def ON def.adrelid = class.oid AND def.adnum = column_.attnum
    LEFT JOIN pg_collation AS coll ON coll.oid = column_.attcollation
WHERE class.relnamespace = %s::regnamespace AND class.relkind = 'r' AND column_.attnum > 0
ORDER BY 1, 2
"""

_CONSTRAINTS = """
SELECT class.relname, conname, contype, convalidated, pg_get_constraintdef(con.oid), obj_description(con.oid)
FROM pg_constraint AS con JOIN pg_class AS class ON class.oid = con.conrelid
WHERE con.connamespace = %s::regnamespace
ORDER BY 1, 2
"""

_INDEXES = """
SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %s ORDER BY 1, 2
"""

_TABLES = """
SELECT relname, relkind, relpersistence, reloptions, relowner::regrole::text, obj_description(oid),
       ARRAY(SELECT acl::text FROM unnest(relacl) AS acl ORDER BY 1), relrowsecurity, relreplident
FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind NOT IN ('i', 'I')
ORDER BY 1
"""

_SCHEMA = """
SELECT nspowner::regrole::text, ARRAY(SELECT acl::text FROM unnest(nspacl) AS acl ORDER BY 1), obj_description(oid)
FROM pg_namespace WHERE nspname = %s
"""


def described(connection: Connection, schema: str) -> dict[str, list[tuple[Any, ...]]]:
    """Columns, constraints, indexes, tables with owner and grants, and the schema's own."""
    described = {}
    for name, statement in (
        ("columns", _COLUMNS),
        ("constraints", _CONSTRAINTS),
        ("indexes", _INDEXES),
        ("tables", _TABLES),
        ("schema", _SCHEMA),
    ):
        found = connection.execute(statement.encode(), (schema,)).fetchall()
        described[name] = [tuple(_without(schema, value) for value in row) for row in found]
    return described


def _without(schema: str, value: Any) -> Any:
    return value.replace(f"{schema}.", "") if isinstance(value, str) else value
