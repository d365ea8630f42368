"""GET /sales: what was sold and cancelled, by day and product."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from sqlalchemy import BigInteger, ColumnElement, Text, bindparam, cast, func, literal_column, select, tuple_

from contract.callers import scope
from contract.examples import TEA_ID, page_of
from contract.names import id_of
from contract.requests import StrictRoute
from contract.resources import Id as ShownId
from contract.resources import Int64, Money
from query.database import Reads, Statement
from query.paging import cursor_text, tie, values_of
from query.parameters import CursorParameters, Id, text_of
from query.parked import PARKED, any_parked
from query.routes import get, page_response
from query.sharing import Sharing
from query.statements import beside_checkpoint, compiled, is_current
from query.sync import Sync
from readmodel.base import checkpoint_of
from readmodel.sales import Base, daily_orders, daily_sales

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_SUMS = ("orders", "quantity", "gross", "cancelled_quantity", "cancelled")
# The members that tell the rows apart, by what they are grouped by. Amounts of two currencies are never added up.
_KEYS = {
    None: ("day", "product_id", "sku", "currency"),
    "day": ("day", "currency"),
    "product": ("product_id", "sku", "currency"),
}


def day_of(text: str) -> date:
    """A day such as 2026-11-28. Raises ValueError."""
    if not _DAY.fullmatch(text):
        raise ValueError("must be a day such as 2026-11-28")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("is no day that the calendar has") from None


_PARSERS = {"day": day_of, "product_id": id_of, "sku": text_of, "currency": text_of}

Day = Annotated[date, BeforeValidator(day_of), WithJsonSchema({"type": "string", "format": "date"})]


class SalesView(BaseModel):
    """Quantities and amounts sold and cancelled. A group leaves out the members that it adds up over.

    `gross` is the amount ordered and `cancelled` the amount cancelled: placed lines count on the day of placing,
    cancelled ones on the day of cancelling, in UTC.
    """

    # The default_factory of a member says in the document that it may be absent, and that it is never null.
    day: Annotated[str, Field(json_schema_extra={"format": "date"})] = Field(default_factory=str)
    product_id: ShownId = Field(default_factory=str)
    sku: str = Field(default_factory=str)
    currency: str
    orders: Int64
    quantity: Int64
    gross: Money
    cancelled_quantity: Int64
    cancelled: Money


SalesPage = page_of(
    "SalesPage",
    SalesView,
    {
        "day": "2026-11-22",
        "product_id": TEA_ID,
        "sku": "tea-assam",
        "currency": "EUR",
        "orders": 1,
        "quantity": 3,
        "gross": "21.60",
        "cancelled_quantity": 0,
        "cancelled": "0.00",
    },
)


class SalesParameters(CursorParameters):
    day__gte: Day | None = Field(None, alias="day[gte]", description="on this day or later")
    day__lt: Day | None = Field(None, alias="day[lt]", description="before this day")
    product_id: Id | None = Field(None, description="only this product")
    currency: str | None = Field(None, pattern="^[A-Z]{3}$", description="only this currency")
    group_by: Literal["day", "product"] | None = Field(None, description="add up over products, or over days")


class _Asked(NamedTuple):
    group_by: str | None
    filters: tuple[tuple[str, object], ...]
    limit: int
    start: tuple[Any, ...] | None


class _Page(NamedTuple):
    position: int
    parked: bool
    rows: list[tuple[Any, ...]]


_FILTERS = {
    "day__gte": daily_sales.c.day >= bindparam("day__gte", type_=daily_sales.c.day.type),
    "day__lt": daily_sales.c.day < bindparam("day__lt", type_=daily_sales.c.day.type),
    "product_id": daily_sales.c.product_id == bindparam("product_id", type_=daily_sales.c.product_id.type),
    "currency": daily_sales.c.currency == bindparam("currency", type_=daily_sales.c.currency.type),
}


def router(reads: Reads, sync: Sync) -> APIRouter:
    routes = APIRouter(tags=["sales"], route_class=StrictRoute)
    sharing: Sharing[_Asked, _Page] = Sharing()

    async def read(asked: Sequence[_Asked]) -> Mapping[_Asked, _Page]:
        return {it: await _read(reads, it) for it in asked}

    @get(routes, "/sales", answers=SalesPage, security=scope("sales:read"), parameters=SalesParameters)
    async def list_sales(request: Request) -> Response:
        """Sales by day and product, oldest day first; or grouped by day, or by product."""
        parameters = SalesParameters.of(request)
        keys = _KEYS[parameters.group_by]
        parsers = [_PARSERS[key] for key in keys]
        tied_to = tie("sales", "", parameters.filters)
        start = None if parameters.cursor is None else tuple(values_of(parameters.cursor, tied_to, parsers))
        filters = tuple((name, value) for name, value in parameters.filters.items() if name in _FILTERS)
        asked = _Asked(parameters.group_by, filters, parameters.limit, start)
        # Groups add up most rows of the table: one after another, so that they leave processors to the commands.
        adds_up_many = asked.group_by is not None and parameters.product_id is None
        flight = asked.group_by if adds_up_many else asked
        page = await sync.answer(request, lambda: sharing.read(flight, asked, read))
        shown, more = page.rows[: parameters.limit], len(page.rows) > parameters.limit
        data = [dict(zip((*keys, *_SUMS), row, strict=True)) for row in shown]
        cursor = cursor_text(shown[-1][: len(keys)], tied_to) if more else None
        state = PARKED if page.parked else {}
        return page_response(request, msgspec.json.encode(data), page.position, cursor, **state)

    return routes


async def _read(reads: Reads, asked: _Asked) -> _Page:
    filters = dict(asked.filters)
    values = filters | {"limit": asked.limit + 1} | {f"start_{i}": value for i, value in enumerate(asked.start or ())}
    statement = _statement(asked.group_by, tuple(filters), continued=asked.start is not None)
    rows = await reads.rows(statement, values)
    position, parked, *_ = rows[0]
    # The LEFT JOIN's own row has no currency.
    return _Page(position, parked, [tuple(row) for _, _, *row in rows if row[-len(_SUMS) - 1] is not None])


def _statement(group_by: str | None, filters: tuple[str, ...], *, continued: bool) -> Statement:
    keys = [daily_sales.c[name] for name in _KEYS[group_by]]
    sums: dict[str, ColumnElement[Any]] = {name: func.sum(daily_sales.c[name]) for name in _SUMS}
    if group_by is None:
        sums = {name: daily_sales.c[name] for name in _SUMS}
    elif group_by == "day" and "product_id" not in filters:
        # An order of three products is one order of its day.
        sums["orders"] = func.coalesce(
            select(daily_orders.c.orders)
            .where(daily_orders.c.day == daily_sales.c.day, daily_orders.c.currency == daily_sales.c.currency)
            .scalar_subquery(),
            literal_column("0"),
        )
    rows = select(*keys, *(value.label(name) for name, value in sums.items())).where(*(_FILTERS[it] for it in filters))
    if group_by is not None:
        rows = rows.group_by(*keys)
    if continued:
        start = [bindparam(f"start_{i}", type_=key.type) for i, key in enumerate(keys)]
        rows = rows.where(tuple_(*keys) > tuple_(*start))
    page = rows.order_by(*keys).limit(bindparam("limit", type_=BigInteger)).subquery("page")
    texts = [cast(page.c[name], Text) for name in _KEYS[group_by]]
    shown = [cast(page.c[it], Text) if it in {"gross", "cancelled"} else cast(page.c[it], BigInteger) for it in _SUMS]
    return compiled(
        select(checkpoint_of(Base.metadata).c.position, any_parked(daily_sales), *texts, *shown)
        .select_from(beside_checkpoint(Base.metadata, page))
        .where(is_current(Base.metadata))
        .order_by(*(page.c[name] for name in _KEYS[group_by])),
        Base.metadata,
        prepared=False,
    )
