"""How rows become JSON text inside PostgreSQL.

The members are those of contract/resources.py. Each is the column of that name, but for those spelled out here.
"""

from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import aggregate_order_by

from contract.resources import OrderItemView, OrderView, ProductView, UserView
from readmodel.shop import order_items

JsonText = sa.ColumnElement[str]


def user_view(users: sa.FromClause) -> JsonText:
    return _object(**_members(UserView, users))


def product_view(products: sa.FromClause) -> JsonText:
    return _object(**_members(ProductView, products, in_stock=_value(in_stock(products))))


def in_stock(products: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a product can be ordered as far as stock goes: there is some, or none is kept."""
    return (products.c.stock.is_(None)) | (products.c.stock > sa.literal_column("0"))


def order_view(orders: sa.FromClause) -> JsonText:
    return _object(**_members(OrderView, orders, items=_items(orders)))


def as_bytes(text: JsonText) -> sa.ColumnElement[bytes]:
    """Text as psycopg passes it on: unparsed, in UTF-8."""
    return sa.func.convert_to(text, sa.literal_column("'UTF8'"))


def _items(orders: sa.FromClause) -> tuple[str, JsonText]:
    row = order_items.c
    item = _object(**_members(OrderItemView, order_items))
    in_order: sa.ColumnElement[str] = aggregate_order_by(sa.literal_column("','"), row.line)
    items = sa.select(sa.func.string_agg(item, in_order)).where(row.order_id == orders.c.id).correlate(orders)
    return "[%s]", items.scalar_subquery()


def _members(
    model: type[BaseModel], table: sa.FromClause, **spelled_out: tuple[str, JsonText]
) -> dict[str, tuple[str, JsonText]]:
    """The members of a resource: columns of the same names, except for those in `spelled_out`."""
    return {name: spelled_out[name] if name in spelled_out else _value(table.c[name]) for name in model.model_fields}


def _object(**members: tuple[str, JsonText]) -> JsonText:
    # format() took half of json_build_object's time, which looks the type of every value up again in every row. All of
    # its arguments are text, for the same reason.
    template = ",".join(f'"{name}":{slot}' for name, (slot, _) in members.items())
    return sa.func.format(sa.literal_column("'{" + template + "}'"), *(value for _, value in members.values()))


def _value(column: sa.ColumnElement[Any]) -> tuple[str, JsonText]:
    """A column's value in JSON: format()'s slot and what goes there."""
    nullable = getattr(column, "nullable", False)
    value: JsonText
    match column.type:
        case sa.Uuid() | sa.Numeric():
            # Nothing in them needs escaping. Money is text in JSON, with the decimals that it is stored with.
            slot, value = '"%s"', sa.cast(column, sa.Text)
        case sa.DateTime():
            # JSON's own rendering would leave out zero microseconds and write the session's time zone.
            utc = sa.func.timezone(sa.literal_column("'UTC'"), column)
            slot, value = '"%s"', sa.func.to_char(utc, sa.literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""))
        case sa.Integer():
            slot, value = "%s", sa.cast(column, sa.Text)
        case sa.Boolean() | sa.Text():
            slot, value = "%s", sa.cast(sa.func.to_json(column), sa.Text)
        case other:
            raise TypeError(f"no JSON for {other}")
    if not nullable:
        return slot, value
    quoted = value if slot == "%s" else sa.cast(sa.func.to_json(value), sa.Text)
    return "%s", sa.func.coalesce(quoted, sa.literal_column("'null'"))
