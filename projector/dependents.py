"""Objects that others have built on the read tables. Views are made again on the new tables; all else refuses the swap.

A view belongs to the tables that it was made on, not to their names: after a swap it would show the retired ones, and
be dropped with them.
"""

from collections.abc import Collection

from psycopg import Connection, sql

from projector import heritage, uncarried
from projector.projection import Projection
from projector.tables import made_by_release

# Each object outside the schema that refers to one of its relations, row types or arrays of these, once.
_FROM_OUTSIDE = """
WITH relations AS (
    SELECT class.oid, ARRAY[reltype, typarray] AS types FROM pg_class AS class JOIN pg_type ON pg_type.oid = reltype
    WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind IN ('r', 'p', 'v', 'm')
), dependents AS (
    SELECT DISTINCT depend.classid, depend.objid, view.oid AS view, view.reloptions,
        view.relkind = 'v' AND rule.rulename = '_RETURN' AND pg_has_role(view.relowner, 'USAGE')
            AND NOT pg_is_other_temp_schema(view.relnamespace) AS follows
    FROM pg_depend AS depend
        JOIN relations ON (depend.refclassid = 'pg_class'::regclass AND depend.refobjid = relations.oid)
            OR (depend.refclassid = 'pg_type'::regclass AND depend.refobjid = ANY (relations.types))
        LEFT JOIN pg_rewrite AS rule ON depend.classid = 'pg_rewrite'::regclass AND depend.objid = rule.oid
        LEFT JOIN pg_class AS view ON view.oid = rule.ev_class
        LEFT JOIN pg_constraint AS con ON depend.classid = 'pg_constraint'::regclass AND depend.objid = con.oid
        LEFT JOIN pg_attrdef AS computed ON depend.classid = 'pg_attrdef'::regclass AND depend.objid = computed.oid
        LEFT JOIN pg_policy AS policy ON depend.classid = 'pg_policy'::regclass AND depend.objid = policy.oid
        LEFT JOIN pg_trigger AS fired ON depend.classid = 'pg_trigger'::regclass AND depend.objid = fired.oid
        LEFT JOIN pg_publication_rel AS published
            ON depend.classid = 'pg_publication_rel'::regclass AND depend.objid = published.oid
    WHERE (depend.deptype = 'n' OR fired.tgconstrrelid = relations.oid AND NOT fired.tgisinternal)
        AND coalesce(view.oid, con.conrelid, computed.adrelid, policy.polrelid, fired.tgrelid, published.prrelid, 0)
            NOT IN (SELECT oid FROM relations)
)
"""

# Needs the view's owner. In place: it stays the same view, with its grants and with the views that are built on it.
_VIEWS = """
SELECT format('CREATE OR REPLACE VIEW %%s%%s AS %%s', view::regclass,
              ' WITH (' || array_to_string(reloptions, ', ') || ')', pg_get_viewdef(view))
FROM dependents WHERE follows ORDER BY view
"""

_OTHERS = """
SELECT pg_describe_object(classid, objid, 0) FROM dependents WHERE follows IS NOT TRUE ORDER BY 1
"""

_ALL = "SELECT pg_describe_object(classid, objid, 0) FROM dependents ORDER BY 1"

# A column, or a whole table or view, that the serving schema has and the new one has not; not one that a release of
# ours has made, because this release has dropped it.
_LOST = """
WITH relations AS (
    SELECT class.oid, nspname, relname FROM pg_class AS class JOIN pg_namespace AS schema ON schema.oid = relnamespace
    WHERE nspname IN (%(old)s, %(new)s) AND relkind IN ('r', 'p', 'v', 'm', 'f')
), named AS (
    SELECT nspname, relname AS name FROM relations
    UNION ALL
    SELECT nspname, format('%%s.%%s', relname, attname) FROM relations
        JOIN pg_attribute ON attrelid = relations.oid AND attnum > 0 AND NOT attisdropped
)
SELECT name FROM named WHERE nspname = %(old)s
    AND name <> ALL (%(made)s) AND name NOT IN (SELECT name FROM named WHERE nspname = %(new)s) ORDER BY name
"""

_HAS_CHECKPOINT = """
SELECT count(*) > 0 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'made' AND NOT attisdropped
"""

# All that is in the schema but the tables `ours`, with what belongs to them.
_ADDED = """
SELECT pg_describe_object(classid, objid, 0)
FROM pg_depend LEFT JOIN pg_class AS class ON classid = 'pg_class'::regclass AND class.oid = objid
WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace(%(schema)s) AND deptype = 'n'
    AND (class.oid IS NULL OR relname <> ALL (%(ours)s)) ORDER BY 1
"""


class InTheWay(Exception):
    """Something is built on the read tables, or has been added to them, that would not survive a swap."""


def look(connection: Connection, projection: Projection, new: str) -> None:
    """Raise InTheWay if a swap of the serving tables for those in schema `new` would lose what others have made."""
    old = projection.name
    refuse_others(connection, old)
    made = made_in(connection, projection, old)
    query = sql.SQL("SELECT version FROM {}").format(sql.Identifier(old, "checkpoint"))
    (version,) = connection.execute(query).fetchone() or (None,)
    if names := ", ".join(uncarried.settings(connection, old, new, made, same=version == projection.version)):
        raise InTheWay(f"a replay cannot carry over: {names}; drop or change it, replay, and make it again")
    if lost := _names(connection, _LOST, old=old, new=new, made=made):
        raise InTheWay(f"the read tables have what no release of orders has made: {lost}; drop it, and replay")


def made_in(connection: Connection, projection: Projection, schema: str) -> list[str]:
    """The names of all that a release of ours has made in the schema: tables, columns, indexes and constraints."""
    made = made_by_release(projection)
    ((has_checkpoint,),) = connection.execute(_HAS_CHECKPOINT, (f"{schema}.checkpoint",)).fetchall()
    if has_checkpoint:
        query = sql.SQL("SELECT made FROM {}").format(sql.Identifier(schema, "checkpoint"))
        made += (connection.execute(query).fetchone() or (None,))[0] or ()
    return [*made, *{name.partition(".")[0] for name in made if "." in name}]  # with the tables of the columns


def refuse_others(connection: Connection, schema: str) -> None:
    """Raise InTheWay if something that cannot follow to new tables is built on those of the schema."""
    others = _names(connection, _FROM_OUTSIDE + _OTHERS, schema=schema)
    if others:
        raise InTheWay(f"what is built on the read tables would be lost: {others}; drop it, replay, and make it again")


def built_on(connection: Connection, schema: str) -> str:
    """What others have built on the relations of the schema, by name; empty if nothing."""
    return _names(connection, _FROM_OUTSIDE + _ALL, schema=schema)


def refuse_added(connection: Connection, schema: str, ours: Collection[str]) -> None:
    """Raise InTheWay if others have put something into the schema, beside the tables `ours`."""
    if added := _names(connection, _ADDED, schema=schema, ours=list(ours)):
        raise InTheWay(f"a rebuild would drop what else is in the schema {schema}: {added}; move it to another schema")


def views(connection: Connection, schema: str) -> list[str]:
    """Statements for the swap's transaction.

    They make all views anew, in place, on the tables that have the schema's name by then.
    """
    with heritage.names_in_full(connection):
        found = connection.execute((_FROM_OUTSIDE + _VIEWS).encode(), {"schema": schema})
        return [statement for (statement,) in found.fetchall()]


def _names(connection: Connection, query: str, **parameters: str | list[str]) -> str:
    with heritage.names_in_full(connection):
        return ", ".join(name for (name,) in connection.execute(query.encode(), parameters).fetchall())
