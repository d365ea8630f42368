"""Views for reports in the schema `reports`, on the read tables of all projections.

A rebuild keeps them, as it keeps everybody's views (projector/dependents.py). A release that changes one drops it in a
migration: `orders migrate` makes what is missing.
"""

from psycopg import Connection, sql

from projector.projection import Projection
from projector.tables import CREATE_LOCK
from readmodel.base import DIALECT, reports_of

SCHEMA = "reports"


def make_missing_views(connection: Connection, projection: Projection) -> None:
    """Make the projection's views that are missing. Raises psycopg.Error."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (CREATE_LOCK,))
        if not _is_there(connection, "to_regnamespace", SCHEMA):
            connection.execute("CREATE SCHEMA reports; COMMENT ON SCHEMA reports IS 'views for reports'")
        for report in reports_of(projection.metadata):
            if _is_there(connection, "to_regclass", f"{SCHEMA}.{report.name}"):
                continue
            view = sql.Identifier(SCHEMA, report.name)
            rows = str(report.rows.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))
            connection.execute(sql.SQL("CREATE VIEW {} AS {}").format(view, sql.SQL(rows)))
            connection.execute(sql.SQL("COMMENT ON VIEW {} IS {}").format(view, report.comment))
            for column, comment in report.comments.items():
                name = sql.Identifier(SCHEMA, report.name, column)
                connection.execute(sql.SQL("COMMENT ON COLUMN {} IS {}").format(name, comment))


def _is_there(connection: Connection, look: str, name: str) -> bool:
    ((is_there,),) = connection.execute(f"SELECT {look}(%s) IS NOT NULL".encode(), (name,)).fetchall()
    return bool(is_there)
