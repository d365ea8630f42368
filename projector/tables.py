"""Making the tables of a projection: empty for a new database, beside the serving ones for a rebuild."""

from psycopg import Connection, sql
from sqlalchemy import MetaData
from sqlalchemy.schema import (
    AddConstraint,
    CreateIndex,
    CreateTable,
    ExecutableDDLElement,
    SetColumnComment,
    SetTableComment,
)

from projector.projection import Projection
from readmodel.base import DIALECT

# The advisory lock of a process that makes missing tables or swaps new ones in. Any constant will do that no other lock
# of ours has.
CREATE_LOCK = 0x6F72_6465_7274

# `parked_changes` begins with the time, so that no other build of the tables has the same: by this number a loop knows
# whether the parked streams that it keeps in memory are still those of the tables.
_START = (
    "INSERT INTO {} (one_row, version, made, generation, built_at, position, updated_at, seen_at, parked, "
    "parked_changes) VALUES (true, %s, %s, left(gen_random_uuid()::text, 8), clock_timestamp(), 0, now(), now(), 0, "
    "1000000::numeric * extract(epoch FROM clock_timestamp()))"
)


class Tables:
    """The tables of `projection` in `schema`, which may have another name than they serve under."""

    def __init__(self, projection: Projection, schema: str) -> None:
        self._projection = projection
        self._schema = schema
        self.metadata = MetaData(naming_convention=projection.metadata.naming_convention)
        for table in projection.metadata.sorted_tables:
            table.to_metadata(self.metadata, schema=schema, referred_schema_fn=lambda *_: schema)

    def create(self, connection: Connection) -> None:
        """Make the schema and the empty tables with primary keys, at position 0."""
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self._schema)))
        comment_on(connection, self._schema, self._projection.metadata.info["comment"])
        for table in self.metadata.sorted_tables:
            _run(connection, CreateTable(table, include_foreign_key_constraints=[]))
            name = sql.Identifier(self._schema, table.name)
            # An event trigger may force row security on all new tables: then no owner could fill them. See heritage.
            connection.execute(sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY").format(name))
            if table.comment:
                _run(connection, SetTableComment(table))
            for column in table.columns:
                if column.comment:
                    _run(connection, SetColumnComment(column))
        checkpoint = sql.Identifier(self._schema, "checkpoint")
        connection.execute(
            sql.SQL(_START).format(checkpoint), (self._projection.version, made_by_release(self._projection))
        )

    def add_keys_and_indexes(self, connection: Connection) -> None:
        """Add foreign keys and indexes, all or none. After the rows: that is several times faster."""
        with connection.transaction():
            for table in self.metadata.sorted_tables:
                for index in sorted(table.indexes, key=lambda index: str(index.name)):
                    _run(connection, CreateIndex(index))
                for constraint in sorted(table.foreign_key_constraints, key=lambda constraint: str(constraint.name)):
                    _run(connection, AddConstraint(constraint))

    def analyze(self, connection: Connection) -> None:
        for table in self.metadata.sorted_tables:
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(self._schema, table.name)))


def comment_on(connection: Connection, schema: str, comment: str) -> None:
    connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(schema), comment))


def made_by_release(projection: Projection) -> list[str]:
    """The names of the columns, indexes and constraints that this release makes: columns as `table.column`.

    The checkpoint keeps them. A later release, which may have dropped some, can tell them from those that others made.
    """
    full_name = DIALECT.identifier_preparer.format_constraint  # with the table's name before it
    names: list[str] = []
    for table in projection.metadata.sorted_tables:
        names += [f"{table.name}.{column.name}" for column in table.columns]
        # PostgreSQL names these constraints itself.
        names += [f"{table.name}_{column.name}_not_null" for column in table.columns if not column.nullable]
        names += [str(index.name) for index in table.indexes]
        names += [str(full_name(constraint)) for constraint in table.constraints]
    return names


def make_missing(connection: Connection, projection: Projection) -> bool:
    """Make the projection's empty tables if its schema is missing; whether it was."""
    with connection.transaction():
        # Two processes that migrate at the same time: one works, the other finds it done.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (CREATE_LOCK,))
        ((is_there,),) = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (projection.name,)).fetchall()
        if is_there:
            return False
        tables = Tables(projection, projection.name)
        tables.create(connection)
        tables.add_keys_and_indexes(connection)
    return True


def _run(connection: Connection, ddl: ExecutableDDLElement) -> None:
    connection.execute(str(ddl.compile(dialect=DIALECT)).encode())
