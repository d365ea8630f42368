"""What the read tables hold, as values that can be compared."""

from typing import Any

from psycopg import Connection, sql

TABLES = ("users", "products", "orders", "order_items")
KEYS = {"order_items": "order_id, line"}

Contents = dict[str, list[tuple[Any, ...]]]


def contents(connection: Connection, schema: str = "shop") -> Contents:
    """All rows of all tables, as PostgreSQL's text of them, in the order of their keys."""
    return {table: rows(connection, table, schema) for table in TABLES}


def rows(connection: Connection, table: str, schema: str = "shop") -> list[tuple[Any, ...]]:
    statement = sql.SQL("SELECT row::text FROM {} AS row ORDER BY {}").format(
        sql.Identifier(schema, table), sql.SQL(KEYS.get(table, "id"))
    )
    return connection.execute(statement).fetchall()


def position(connection: Connection, schema: str = "shop") -> int:
    row = connection.execute(sql.SQL("SELECT position FROM {}").format(sql.Identifier(schema, "checkpoint"))).fetchone()
    assert row is not None
    return int(row[0])


def head(connection: Connection) -> int:
    row = connection.execute("SELECT position FROM log.head").fetchone()
    assert row is not None
    return int(row[0])


def error(connection: Connection) -> str | None:
    row = connection.execute("SELECT error FROM shop.checkpoint").fetchone()
    assert row is not None
    told: str | None = row[0]
    return told
