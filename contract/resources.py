"""The resources as callers see them. They document the answers; both sides build the bytes themselves, for speed.

Money is a decimal string with at least two decimals, timestamps are RFC 3339 in UTC with six decimals and `Z`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Id = Annotated[str, Field(description="UUIDv7", json_schema_extra={"format": "uuid"})]
Money = Annotated[str, Field(description="exact decimal", examples=["49.99"], pattern=r"^\d{1,24}\.\d{2,4}$")]
Timestamp = Annotated[str, Field(examples=["2026-11-22T13:51:00.000000Z"], json_schema_extra={"format": "date-time"})]


class UserView(BaseModel):
    id: Id
    external_id: str | None
    name: str
    email: str
    version: int
    created_at: Timestamp
    updated_at: Timestamp


class ProductView(BaseModel):
    id: Id
    sku: str
    name: str
    price: Money
    currency: str
    stock: int | None = Field(description="null: not kept in stock, any quantity can be ordered")
    in_stock: bool
    discontinued: bool
    version: int
    created_at: Timestamp
    updated_at: Timestamp


class OrderItemView(BaseModel):
    line: int
    product_id: Id
    sku: str
    name: str
    quantity: int
    cancelled_quantity: int
    unit_price: Money
    amount: Money


class OrderView(BaseModel):
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
    version: int
    updated_at: Timestamp


class EventView(BaseModel):
    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    occurred_at: Timestamp
    recorded_at: Timestamp
    data: dict[str, Any]


class ProjectionView(BaseModel):
    name: str
    position: int
    head: int
    lag_events: int
    lag_ms: int
    state: Literal["live", "catching_up", "replaying", "stopped"]
    parked: int
    updated_at: Timestamp


class BodyError(BaseModel):
    pointer: str
    code: str
    detail: str


class ProblemView(BaseModel):
    """RFC 9457; served as application/problem+json."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    errors: list[BodyError] = []


class UserPage(BaseModel):
    data: list[UserView]
    next: str | None


class ProductPage(BaseModel):
    data: list[ProductView]
    next: str | None


class OrderPage(BaseModel):
    data: list[OrderView]
    next: str | None


class EventPage(BaseModel):
    data: list[EventView]
    next: str | None


class ProjectionList(BaseModel):
    data: list[ProjectionView]
