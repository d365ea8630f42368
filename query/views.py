"""How rows become JSON text inside PostgreSQL, member by member as contract/resources.py has them."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    FromClause,
    Integer,
    Numeric,
    Text,
    Uuid,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from readmodel.shop import order_items

JsonText = ColumnElement[str]


def user_view(users: FromClause) -> JsonText:
    """A UserView."""
    row = users.c
    return _object(
        id=_value(row.id),
        external_id=_value(row.external_id),
        name=_value(row.name),
        email=_value(row.email),
        version=_value(row.version),
        created_at=_value(row.created_at),
        updated_at=_value(row.updated_at),
    )


def product_view(products: FromClause) -> JsonText:
    """A ProductView."""
    row = products.c
    return _object(
        id=_value(row.id),
        sku=_value(row.sku),
        name=_value(row.name),
        price=_value(row.price),
        currency=_value(row.currency),
        stock=_value(row.stock),
        in_stock=_value(in_stock(products)),
        discontinued=_value(row.discontinued),
        version=_value(row.version),
        created_at=_value(row.created_at),
        updated_at=_value(row.updated_at),
    )


def in_stock(products: FromClause) -> ColumnElement[bool]:
    """Whether a product can be ordered as far as stock goes: there is some, or none is kept."""
    return (products.c.stock.is_(None)) | (products.c.stock > literal_column("0"))


def order_view(orders: FromClause) -> JsonText:
    """An OrderView with its items."""
    row = orders.c
    return _object(
        id=_value(row.id),
        external_id=_value(row.external_id),
        user_id=_value(row.user_id),
        status=_value(row.status),
        currency=_value(row.currency),
        total=_value(row.total),
        cancelled_total=_value(row.cancelled_total),
        items=_items(orders),
        note=_value(row.note),
        cancel_reason=_value(row.cancel_reason),
        placed_at=_value(row.placed_at),
        cancelled_at=_value(row.cancelled_at),
        version=_value(row.version),
        updated_at=_value(row.updated_at),
    )


def as_bytes(text: JsonText) -> ColumnElement[bytes]:
    """Text as psycopg passes it on: unparsed, in UTF-8."""
    return func.convert_to(text, literal_column("'UTF8'"))


def timestamp(at: datetime) -> str:
    """A time as the views write it: RFC 3339, in UTC, with six decimals."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _items(orders: FromClause) -> tuple[str, JsonText]:
    row = order_items.c
    item = _object(
        line=_value(row.line),
        product_id=_value(row.product_id),
        sku=_value(row.sku),
        name=_value(row.name),
        quantity=_value(row.quantity),
        cancelled_quantity=_value(row.cancelled_quantity),
        unit_price=_value(row.unit_price),
        amount=_value(row.amount),
    )
    in_order: ColumnElement[str] = aggregate_order_by(literal_column("','"), row.line)
    items = select(func.string_agg(item, in_order)).where(row.order_id == orders.c.id).correlate(orders)
    return "[%s]", items.scalar_subquery()


def _object(**members: tuple[str, JsonText]) -> JsonText:
    # format() took half of json_build_object's time, which looks the type of every value up again in every row. All of
    # its arguments are text, for the same reason.
    template = ",".join(f'"{name}":{slot}' for name, (slot, _) in members.items())
    return func.format(literal_column("'{" + template + "}'"), *(value for _, value in members.values()))


def _value(column: ColumnElement[Any]) -> tuple[str, JsonText]:
    """A column's value in JSON: format()'s slot and what goes there."""
    nullable = getattr(column, "nullable", False)
    value: JsonText
    match column.type:
        case Uuid() | Numeric():
            # Nothing in them needs escaping. Money is text in JSON, with the decimals that it is stored with.
            slot, value = '"%s"', cast(column, Text)
        case DateTime():
            # JSON's own rendering would leave out zero microseconds and write the session's time zone.
            utc = func.timezone(literal_column("'UTC'"), column)
            slot, value = '"%s"', func.to_char(utc, literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""))
        case Integer():
            slot, value = "%s", cast(column, Text)
        case Boolean() | Text():
            slot, value = "%s", cast(func.to_json(column), Text)
        case other:
            raise TypeError(f"no JSON for {other}")
    if not nullable:
        return slot, value
    quoted = value if slot == "%s" else cast(func.to_json(value), Text)
    return "%s", func.coalesce(quoted, literal_column("'null'"))
