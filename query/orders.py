"""GET /orders, /orders/{id} and /users/{id}/orders."""

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal, get_args

from fastapi import APIRouter, Request, Response
from pydantic import BeforeValidator, Field, WithJsonSchema
from sqlalchemy import ColumnElement, bindparam, exists, literal_column, true

from contract.callers import scope
from contract.names import known_id
from contract.requests import StrictRoute
from contract.resources import OrderPage, OrderView
from query.database import Reads
from query.filters import Filter, Through, ranges
from query.listing import Listing
from query.lookup import Lookup
from query.paging import Sort
from query.parameters import Id, Money, Name, PageParameters, Time, TimeRoundedUp, money_of, one_or_more, time_of
from query.routes import get
from query.single import Past, PastParameters, answer
from query.sync import Sync
from query.views import order_view
from readmodel.shop import order_items, orders, users

OrderStatus = Literal["placed", "partially_cancelled", "cancelled"]
STATUSES: tuple[str, ...] = get_args(OrderStatus)
# Every choice of statuses, as its filter is written: in alphabetical order, with commas.
CHOICES = [",".join(sorted(some)) for count in range(1, 1 + len(STATUSES)) for some in combinations(STATUSES, count)]


def _statuses(text: str) -> str:
    choice = one_or_more(text)
    if choice not in CHOICES:
        raise ValueError(f"must be one or more of {', '.join(STATUSES)}, with commas between them")
    return choice


Statuses = Annotated[
    str,
    BeforeValidator(_statuses),
    WithJsonSchema({"type": "array", "items": {"type": "string", "enum": list(STATUSES)}, "minItems": 1}),
]


class UsersOrdersParameters(PageParameters):
    lists: ClassVar = frozenset({"status"})

    sort: Literal["placed_at", "-placed_at", "total", "-total"] = Field(
        "-placed_at", description="`-` for descending; the id decides between equals"
    )
    status: Statuses | None = Field(
        None, description="only orders in one of these statuses; `status=placed,cancelled` works too"
    )
    product_id: Id | None = Field(None, description="only orders with a line of this product")
    external_id: Name | None = Field(None, description="only the order with this external_id (case counts)")
    placed_at__gte: TimeRoundedUp | None = Field(
        None, alias="placed_at[gte]", description="placed at this time or later"
    )
    placed_at__gt: Time | None = Field(None, alias="placed_at[gt]", description="placed later than this")
    placed_at__lte: Time | None = Field(None, alias="placed_at[lte]", description="placed at this time or earlier")
    placed_at__lt: TimeRoundedUp | None = Field(None, alias="placed_at[lt]", description="placed earlier than this")
    total__gte: Money | None = Field(None, alias="total[gte]", description="with at least this total")
    total__gt: Money | None = Field(None, alias="total[gt]", description="with a greater total")
    total__lte: Money | None = Field(None, alias="total[lte]", description="with at most this total")
    total__lt: Money | None = Field(None, alias="total[lt]", description="with a smaller total")


class OrdersParameters(UsersOrdersParameters):
    user_id: Id | None = Field(None, description="only this user's orders")


SORTS = {"placed_at": Sort(orders.c.placed_at, time_of), "total": Sort(orders.c.total, money_of)}

_of_product = order_items.c.product_id == bindparam("product_id", type_=orders.c.id.type)
_has_product = exists().where(order_items.c.order_id == orders.c.id, _of_product)


def _has_one_of(chosen: Sequence[str]) -> ColumnElement[bool]:
    """Whether an order has one of these statuses.

    Two of the three are written as "not the third": so PostgreSQL sees that a partial index has the rows.
    """
    others = [status for status in STATUSES if status not in chosen]
    if len(others) > 1:
        return orders.c.status == literal_column(f"'{chosen[0]}'")
    return orders.c.status != literal_column(f"'{others[0]}'") if others else true()


# readmodel/shop.py says which index serves which filter.
FILTERS = {
    "user_id": Filter(
        orders.c.user_id == bindparam("user_id", type_=orders.c.user_id.type), frozenset({"placed_at"}), apart=True
    ),
    "status": Filter({choice: _has_one_of(choice.split(",")) for choice in CHOICES}, frozenset(SORTS)),
    "product_id": Filter(
        _has_product,
        through=Through(_of_product, "placed_at", order_items.c.placed_at, order_items.c.order_id),
        apart=True,
    ),
    "external_id": Filter(orders.c.external_id == bindparam("external_id", type_=orders.c.external_id.type)),
    **ranges(orders.c.placed_at),
    **ranges(orders.c.total),
}


def router(reads: Reads, sync: Sync, past: Past | None = None) -> APIRouter:
    routes = APIRouter(tags=["orders"], route_class=StrictRoute)
    lookup = Lookup(reads, orders, order_view(orders), owner=orders.c.user_id)
    about: dict[str, Any] = {"sorts": SORTS, "filters": FILTERS, "belongs_to": "user_id", "weight": orders.c.line_count}
    listing = Listing(reads, sync, orders, order_view, **about)
    of_user = Listing(reads, sync, orders, order_view, **about, owner=(users, "user_id"))

    @get(routes, "/orders", answers=OrderPage, security=scope("orders:read"), parameters=OrdersParameters)
    async def list_orders(request: Request) -> Response:
        """Orders, newest first unless sorted otherwise."""
        return await listing.answer(request, OrdersParameters.of(request))

    @get(
        routes,
        "/orders/{id}",
        answers=OrderView,
        security=scope("orders:read"),
        parameters=PastParameters if past else None,
        versioned=True,
    )
    async def get_order(request: Request, id: str) -> Response:
        """One order with its items."""
        return await answer(request, lookup, sync, id, past)

    @get(
        routes, "/users/{id}/orders", answers=OrderPage, security=scope("orders:read"), parameters=UsersOrdersParameters
    )
    async def list_orders_of_user(request: Request, id: str) -> Response:
        """A user's orders; a deleted user's too, because orders stay."""
        return await of_user.answer(request, UsersOrdersParameters.of(request), user_id=known_id(id))

    return routes
