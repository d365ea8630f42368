"""Rows for the read tables, with sensible values for all that a test does not care about."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Engine, Table, create_engine, insert, update
from sqlalchemy.pool import NullPool

from contract.emails import email_key
from readmodel.shop import checkpoint, order_items, orders, products, users

START = datetime(2026, 11, 22, 13, 51, tzinfo=UTC)


class Rows:
    """Puts rows into the read tables of a database, as the projector would, and moves the checkpoint."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool
        )
        self._numbers = itertools.count(1)

    def user(self, **values: object) -> str:
        number, at = self._next()
        email = str(values.get("email", f"user{number}@example.org"))
        row = {"name": f"User {number}", "email": email, "email_key": email_key(email), "version": 1}
        return self._insert(users, {"id": _id(number), "created_at": at, "updated_at": at, **row, **values})

    def product(self, **values: object) -> str:
        number, at = self._next()
        row = {"sku": f"SKU-{number:03}", "name": f"Product {number}", "price": Decimal("2.50"), "currency": "EUR"}
        row |= {"stock": 10, "discontinued": False, "version": 1, "created_at": at, "updated_at": at}
        return self._insert(products, {"id": _id(number), **row, **values})

    def order(self, user: str | None = None, lines: Sequence[str] | None = None, **values: object) -> str:
        """An order of one piece of each product in `lines`."""
        user = user or self.user()
        lines = [self.product()] if lines is None else lines
        number, at = self._next()
        row = {"user_id": UUID(user), "status": "placed", "currency": "EUR", "total": Decimal("2.50") * len(lines)}
        row |= {
            "cancelled_total": Decimal("0.00"),
            "placed_at": at,
            "updated_at": at,
            "version": 1,
            "line_count": len(lines),
        }
        order = self._insert(orders, {"id": _id(number), **row, **values})
        self.lines(order, lines, placed_at=values.get("placed_at", at))
        return order

    def lines(self, order: str, products: Sequence[str], **values: object) -> None:
        """A line for each product."""
        row = {"order_id": UUID(order), "sku": "SKU", "name": "as it was", "quantity": 1, "cancelled_quantity": 0}
        row |= {"unit_price": Decimal("2.50"), "amount": Decimal("2.50"), "placed_at": START, **values}
        found = [{"line": line, "product_id": UUID(product), **row} for line, product in enumerate(products, 1)]
        if found:
            with self._engine.begin() as connection:
                connection.execute(insert(order_items), found)

    def reach(self, position: int, **values: object) -> None:
        """Move the checkpoint."""
        with self._engine.begin() as connection:
            connection.execute(update(checkpoint).values(position=position, **values))

    def execute(self, statement: str) -> None:
        """Run any SQL; `{database}` stands for the database's name."""
        with self._engine.begin() as connection:
            database = connection.exec_driver_sql("SELECT current_database()").scalar_one()
            connection.exec_driver_sql(statement.replace("{database}", f'"{database}"'))

    def _next(self) -> tuple[int, datetime]:
        number = next(self._numbers)
        return number, START + timedelta(seconds=number)

    def _insert(self, table: Table, row: dict[str, Any]) -> str:
        with self._engine.begin() as connection:
            connection.execute(insert(table).values(row))
        return str(row["id"])


def _id(number: int) -> UUID:
    """A UUIDv7 look-alike; higher numbers have higher ids."""
    return UUID(f"0197c1c2-7d8e-7000-8000-{number:012x}")
