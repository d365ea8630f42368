"""The service that a good developer writes without events: FastAPI, SQLAlchemy's async ORM, one transaction a request.

Nothing is left out that makes it faster without making it another design: connections are pooled, the products of an
order are read in one query and taken in one order (so that orders do not deadlock), the session does not expire what it
is about to answer, items are loaded with one query a page, and there are fewer indexes than the real service's read
tables have. Ids are made as the real service makes them, and the server runs with the same settings (bench/serve.py).
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import CursorResult, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import selectinload

from bench.crud_tables import Order, OrderItem, Product, User
from eventlog.ids import new_id

POOL_SIZE = 20


class ItemIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    product_id: UUID
    quantity: int = Field(ge=1, le=1_000_000)


class OrderIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user_id: UUID
    items: list[ItemIn] = Field(min_length=1, max_length=1_000)
    external_id: str | None = Field(None, min_length=1, max_length=100)
    note: str | None = Field(None, max_length=1_000)


class ItemOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    line: int
    product_id: UUID
    sku: str
    name: str
    quantity: int
    cancelled_quantity: int
    unit_price: Decimal
    amount: Decimal


class OrderOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    external_id: str | None
    user_id: UUID
    status: str
    currency: str
    total: Decimal
    cancelled_total: Decimal
    items: list[ItemOut]
    note: str | None
    cancel_reason: str | None
    placed_at: datetime
    cancelled_at: datetime | None
    version: int
    updated_at: datetime


# asyncpg: with this ORM a tenth to a third faster than psycopg, which the real service uses.
engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=POOL_SIZE, max_overflow=0
)
new_session = async_sessionmaker(engine, expire_on_commit=False)


async def session_of_request() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(session_of_request)]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = FastAPI(title="orders, without events", lifespan=lifespan)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/orders", status_code=201, response_model=OrderOut)
async def place_order(body: OrderIn, session: Session) -> Order:
    """Place an order: it, its items and its stock succeed together, or not at all."""
    async with session.begin():
        if await session.get(User, body.user_id) is None:
            raise HTTPException(422, "unknown user")
        wanted: dict[UUID, int] = {}
        for item in body.items:
            wanted[item.product_id] = wanted.get(item.product_id, 0) + item.quantity
        found = await session.scalars(select(Product).where(Product.id.in_(wanted)))
        products = {product.id: product for product in found}
        if len(products) < len(wanted):
            raise HTTPException(422, "unknown product")
        order = _order(body, products)
        for product_id in sorted(wanted):
            quantity = wanted[product_id]
            taken = await session.execute(
                update(Product)
                .where(Product.id == product_id, Product.stock >= quantity)
                .values(stock=Product.stock - quantity)
                .execution_options(synchronize_session=False)
            )
            if cast(CursorResult[Any], taken).rowcount != 1:
                raise HTTPException(409, "insufficient stock")
        session.add(order)
    return order


@app.get("/orders/{order_id}", response_model=OrderOut)
async def get_order(order_id: UUID, session: Session) -> Order:
    """One order with its items."""
    order = await session.get(Order, order_id, options=[selectinload(Order.items)])
    if order is None:
        raise HTTPException(404, "not found")
    return order


@app.get("/orders", response_model=list[OrderOut])
async def list_orders(session: Session, limit: Annotated[int, Field(ge=1, le=100)] = 25) -> list[Order]:
    """The newest orders with their items."""
    newest = select(Order).order_by(Order.placed_at.desc(), Order.id.desc()).limit(limit)
    return list(await session.scalars(newest.options(selectinload(Order.items))))


def _order(body: OrderIn, products: dict[UUID, Product]) -> Order:
    now = datetime.now(UTC)
    items = []
    for line, wanted in enumerate(body.items, 1):
        product = products[wanted.product_id]
        items.append(
            OrderItem(
                line=line,
                product_id=product.id,
                sku=product.sku,
                name=product.name,
                quantity=wanted.quantity,
                cancelled_quantity=0,
                unit_price=product.price,
                amount=product.price * wanted.quantity,
            )
        )
    return Order(
        id=UUID(new_id()),
        external_id=body.external_id,
        user_id=body.user_id,
        status="placed",
        currency=products[body.items[0].product_id].currency,
        total=sum((item.amount for item in items), Decimal(0)),
        cancelled_total=Decimal("0.00"),
        note=body.note,
        placed_at=now,
        version=1,
        updated_at=now,
        items=items,
    )
