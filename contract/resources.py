"""The resources as callers see them. They document the answers; both sides build the bytes themselves, for speed.

Money is a decimal string with at least two decimals, timestamps are RFC 3339 in UTC with six decimals and `Z`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from contract.examples import ACTOR, CANCELLED, ORDER, PRODUCT, REQUEST_ID, USER, page_of, shown

Id = Annotated[str, Field(description="UUIDv7", json_schema_extra={"format": "uuid"})]
Money = Annotated[str, Field(description="exact decimal", examples=["49.99"], pattern=r"^\d{1,24}\.\d{2,4}$")]
Timestamp = Annotated[str, Field(examples=["2026-11-22T13:51:00.000000Z"], json_schema_extra={"format": "date-time"})]

# Generated clients read an integer without a format as 32 bits wide.
Int32 = Annotated[int, Field(json_schema_extra={"format": "int32"})]
Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]


class UserView(BaseModel):
    model_config = shown(USER)

    id: Id
    external_id: str | None
    name: str
    email: str
    version: Int32
    created_at: Timestamp
    updated_at: Timestamp


class ProductView(BaseModel):
    model_config = shown(PRODUCT)

    id: Id
    sku: str
    name: str
    price: Money
    currency: str
    stock: Int64 | None = Field(description="null: not kept in stock, any quantity can be ordered")
    in_stock: bool
    discontinued: bool
    version: Int32
    created_at: Timestamp
    updated_at: Timestamp


class OrderItemView(BaseModel):
    line: Int32
    product_id: Id
    sku: str
    name: str
    quantity: Int32
    cancelled_quantity: Int32
    unit_price: Money
    amount: Money


class OrderView(BaseModel):
    model_config = shown(ORDER)

    id: Id
    external_id: str | None
    user_id: Id
    status: Literal["placed", "partially_cancelled", "cancelled"]
    currency: str
    total: Money = Field(description="as placed; never changes")
    cancelled_total: Money = Field(description="what was cancelled of the total")
    items: list[OrderItemView]
    note: str | None
    cancel_reason: str | None
    placed_at: Timestamp
    cancelled_at: Timestamp | None
    version: Int32
    updated_at: Timestamp


class ActorView(BaseModel):
    """The actor of an event."""

    kind: str = Field(examples=["api"])
    id: str | None = Field(examples=[None])


class ChangeView(BaseModel):
    """The change of one field by an event: JSON values, null where there was none."""

    field: str = Field(examples=["status"])
    before: Any = Field(examples=["placed"])
    after: Any = Field(examples=["partially_cancelled"])


class StepView(BaseModel):
    """An event as a person reads it. `changes` leaves out `id`, `version` and `updated_at`."""

    at: Timestamp = Field(description="when it occurred")
    version: Int32
    position: Int64
    type: str = Field(examples=["OrderLinesCancelled"])
    actor: ActorView | None
    text: str = Field(examples=["Cancelled 1 x mint, 2.50 EUR: too many"])
    changes: list[ChangeView]


class ExplainedView(BaseModel):
    """A field, its value, and the event that set it last.

    A line of an order is the field `items.<line>`; its `cancelled_quantity`, which changes, is a field of its own.
    A user has the field `deleted_at` too.
    """

    field: str = Field(examples=["items.2.cancelled_quantity"])
    value: Any = Field(examples=[1])
    version: Int32 = Field(description="of that event in its stream")
    position: Int64
    type: str = Field(examples=["OrderLinesCancelled"])
    occurred_at: Timestamp
    recorded_at: Timestamp
    actor: ActorView | None
    request_id: str | None = Field(description="the X-Request-Id of the request that caused it")


class ProjectionView(BaseModel):
    """Where a projection is.

    `progress` is that of a rebuild, from 0 to 1; null when there is none. `mirror` is the other database that keeps the
    projection; null for the one that answers requests. Only a mirror is `ended`: it was told to end, and did.
    """

    name: str
    mirror: str | None
    version: Int32
    position: Int64
    head: Int64
    lag_events: Int64
    lag_ms: Int64
    state: Literal["live", "catching_up", "rebuilding", "outdated", "stopped", "ended"]
    parked: Int32
    progress: float | None
    updated_at: Timestamp


class BodyError(BaseModel):
    pointer: str
    code: str
    detail: str


class ProblemLine(BaseModel):
    """A problem with one line of an order; `line` always, the others as the code needs them."""

    line: Int32
    product_id: Id = Field(default_factory=str)
    sku: str = Field(default_factory=str)
    requested: Int64 = Field(
        default_factory=int, description="what was asked for; `insufficient-stock`: for all lines of the product"
    )
    available: Int64 = Field(default_factory=int, description="`insufficient-stock`: what is in stock")
    cancellable: Int64 = Field(default_factory=int, description="`quantity-not-cancellable`: what is left to cancel")
    expected_unit_price: Money = Field(default_factory=str, description="`price-changed`: the price of the request")
    unit_price: Money = Field(default_factory=str, description="`price-changed`: the price that holds")


class ProblemView(BaseModel):
    """RFC 9457; served as application/problem+json. Members from `errors` on are absent or have a value."""

    # The default_factory of a member says in the document that it may be absent, and that it is never null.
    type: str
    title: str
    status: Int32
    detail: str
    code: str
    retryable: bool
    errors: list[BodyError] = Field(
        default_factory=list, description="what is wrong in the body; `validation-error` always has it"
    )
    lines: list[ProblemLine] = Field(default_factory=list, description="the lines of the order that are the reason")
    parameter: str = Field(default_factory=str, description="the query parameter that is the reason")
    required: str = Field(default_factory=str, description="`missing-scope`: the scope that the route needs")
    held: list[str] = Field(default_factory=list, description="`missing-scope`: the scopes that the caller has")
    instance: str = Field(default_factory=str, description="`urn:request:` and the X-Request-Id, percent-encoded")


UserPage = page_of("UserPage", UserView, USER)
ProductPage = page_of("ProductPage", ProductView, PRODUCT)
OrderPage = page_of("OrderPage", OrderView, ORDER)
HistoryPage = page_of(
    "HistoryPage",
    StepView,
    {
        "at": CANCELLED,
        "version": 2,
        "position": 7,
        "type": "OrderLinesCancelled",
        "actor": ACTOR,
        "text": "Cancelled 1 x tea-assam, 7.20 EUR: one too many",
        "changes": [
            {"field": "status", "before": "placed", "after": "partially_cancelled"},
            {"field": "cancelled_total", "before": "0.00", "after": "7.20"},
            {"field": "cancel_reason", "before": None, "after": "one too many"},
            {"field": "items.1.cancelled_quantity", "before": 0, "after": 1},
        ],
    },
)


class Explanation(BaseModel):
    """`version` is the version of the resource that is explained."""

    model_config = shown(
        {
            "version": 2,
            "data": [
                {
                    "field": "cancelled_total",
                    "value": "7.20",
                    "version": 2,
                    "position": 7,
                    "type": "OrderLinesCancelled",
                    "occurred_at": CANCELLED,
                    "recorded_at": CANCELLED,
                    "actor": ACTOR,
                    "request_id": REQUEST_ID,
                }
            ],
        }
    )

    version: Int32
    data: list[ExplainedView]


class ProjectionList(BaseModel):
    model_config = shown(
        {
            "data": [
                {
                    "name": "shop",
                    "mirror": None,
                    "version": 1,
                    "position": 8,
                    "head": 8,
                    "lag_events": 0,
                    "lag_ms": 0,
                    "state": "live",
                    "parked": 0,
                    "progress": None,
                    "updated_at": CANCELLED,
                }
            ]
        }
    )

    data: list[ProjectionView]
