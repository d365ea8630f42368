"""Objects that others have built on the read tables. Views are made again on the new tables; all else refuses the swap.

A view belongs to the tables that it was made on, not to their names: after a swap it would show the retired ones, and
be dropped with them.
"""

from collections.abc import Collection, Iterable

import psycopg
from psycopg import Connection, sql

from database.rules import function_of
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


# Statements; with the name and the owner of a publication that is not ours.
_DEFAULTS = """
WITH tables AS (SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind = 'r')
SELECT format('ALTER PUBLICATION %%I DROP %%s', pubname, what), CASE WHEN NOT pg_has_role(pubowner, 'USAGE') THEN
    quote_ident(pubname) END, pubowner::regrole::text
FROM pg_publication AS publication JOIN (
    SELECT prpubid, 'TABLE ' || prrelid::regclass::text FROM pg_publication_rel JOIN tables ON tables.oid = prrelid
    UNION ALL
    SELECT pnpubid, 'TABLES IN SCHEMA ' || pnnspid::regnamespace::text FROM pg_publication_namespace
    WHERE pnnspid = to_regnamespace(%(schema)s)
) AS published (publication, what) ON published.publication = publication.oid
UNION ALL
SELECT format('DROP TRIGGER %%I ON %%s', tgname, tgrelid::regclass), NULL, NULL
FROM pg_trigger JOIN tables ON tables.oid = tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT DISTINCT format('REVOKE ALL ON SCHEMA %%I FROM %%s', nspname,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END), NULL, NULL
FROM pg_namespace, aclexplode(nspacl) AS acl WHERE nspname = %(schema)s AND acl.grantee <> nspowner
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
    found = uncarried.additions(connection, old, made) + uncarried.settings(connection, old, new)
    if version == projection.version:
        found += uncarried.changes(connection, old, new)
    _refuse_uncarried(found)
    if lost := _names(connection, _LOST, old=old, new=new, made=made):
        raise InTheWay(f"the read tables have what no release of orders has made: {lost}; drop it, and replay")


def refuse_settings(connection: Connection, old: str, new: str) -> None:
    """Raise InTheWay if something is set on the tables of schema `old` that cannot be carried over to `new`."""
    _refuse_uncarried(uncarried.settings(connection, old, new))


def _refuse_uncarried(found: list[str]) -> None:
    if found:
        names = ", ".join(found)
        raise InTheWay(f"a replay cannot carry over: {names}; drop or change it, replay, and make it again")


def try_out(connection: Connection, statements: Iterable[str]) -> None:
    """Run statements of a swap that is rolled back, and raise InTheWay with those that fail.

    A view or a policy that needs a column which this release has dropped is found so before the work, by its name.
    """
    refused = []
    for statement in statements:
        try:
            with connection.transaction():
                connection.execute(statement.encode())
        except psycopg.OperationalError:
            raise  # a session reads the view: the swap will find out; or the server has gone away
        except psycopg.Error as error:
            if function_of(error):
                raise  # an event trigger's function: the view or the setting is right
            what = statement.removeprefix("CREATE OR REPLACE ").partition(" AS ")[0]
            lacks = isinstance(error, psycopg.errors.InsufficientPrivilege)
            remedy = ": grant it to the role that runs this" if lacks else ""
            refused.append(f"{what} ({str(error).splitlines()[0]}{remedy})")
    if refused:
        raise InTheWay(
            f"views or settings of the read tables do not fit this release: {'; '.join(refused)}; "
            "drop or change it, replay, and make it again"
        )


def undo_defaults(connection: Connection, schema: str) -> None:
    """Undo what event triggers and default privileges have given to a schema that a rebuild makes, or has retired.

    Subscribers lack it, a trigger of another application would fire for each row, and rows that row security hides
    would be readable. Raises InTheWay.
    """
    with heritage.names_in_full(connection):
        found = connection.execute(_DEFAULTS, {"schema": schema}).fetchall()
    for change, publication, owner in found:
        if publication:
            raise InTheWay(
                f"an event trigger puts new tables into publication {publication} of role {owner}: let it leave out "
                f"the schema {schema}, or run this as a role that is a member of {owner} and of the tables' owner"
            )
        connection.execute(change.encode())


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
