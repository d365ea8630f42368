"""The same service, tuned for every millisecond: no ORM, one statement an order, psycopg's pool.

The statement checks the user and the products, takes the stock, writes order and items, and returns what the answer
needs; so an order costs one round trip and one commit. The products are locked in the order of their ids, so that
orders do not deadlock. When something is missing, a null in a NOT NULL column undoes the statement as a whole; what it
was is then looked up. Bodies are the real service's own, read by FastAPI; answers are bytes.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
import psycopg
from fastapi import FastAPI, HTTPException
from psycopg_pool import AsyncConnectionPool
from starlette.responses import Response

from command.orders import PlaceOrderBody
from contract.times import rfc3339
from eventlog.ids import new_id

CONNECTIONS = 20

PLACE = b"""
WITH line AS (
    SELECT number::integer AS line, product_id, quantity
    FROM unnest(%(products)b::uuid[], %(quantities)b::integer[]) WITH ORDINALITY AS it (product_id, quantity, number)
), wanted AS (
    SELECT product_id, sum(quantity) AS quantity FROM line GROUP BY product_id
), locked AS MATERIALIZED (
    SELECT id FROM products WHERE id = ANY(%(products)b::uuid[]) ORDER BY id FOR NO KEY UPDATE
), taken AS (
    UPDATE products SET stock = stock - wanted.quantity
    FROM locked JOIN wanted ON wanted.product_id = locked.id
    WHERE products.id = locked.id AND products.stock >= wanted.quantity
    RETURNING products.id, products.sku, products.name, products.price, products.currency
), item AS (
    SELECT line.line, taken.id, taken.sku, taken.name, line.quantity, taken.price, taken.price * line.quantity AS amount
    FROM line JOIN taken ON taken.id = line.product_id
), placed AS (
    INSERT INTO orders
        (id, external_id, user_id, status, currency, total, cancelled_total, note, placed_at, version, updated_at)
    SELECT %(id)b::uuid, %(external_id)b::text, (SELECT id FROM users WHERE id = %(user_id)b::uuid), 'placed',
           (SELECT min(currency) FROM taken HAVING count(*) = (SELECT count(*) FROM wanted)),
           (SELECT sum(amount) FROM item), 0.00, %(note)b::text, now(), 1, now()
    RETURNING currency, total, placed_at
), itemised AS (
    INSERT INTO order_items
        (order_id, line, product_id, sku, name, quantity, cancelled_quantity, unit_price, amount)
    SELECT %(id)b::uuid, line, id, sku, name, quantity, 0, price, amount FROM item
)
SELECT placed.currency, placed.total::text, placed.placed_at,
       item.line, item.id::text, item.sku, item.name, item.quantity, item.price::text, item.amount::text
FROM placed, item ORDER BY item.line
"""

UNKNOWN = b"""
SELECT EXISTS (SELECT FROM users WHERE id = %(user_id)b::uuid),
       (SELECT count(*) FROM products WHERE id = ANY(%(products)b::uuid[]))
"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    url = os.environ["DATABASE_URL"]
    options = {"autocommit": True, "prepare_threshold": 0}
    async with AsyncConnectionPool(url, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=options, open=False) as pool:
        app.state.pool = pool
        yield


app = FastAPI(title="orders, without events, tuned", lifespan=lifespan)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/orders", status_code=201)
async def place_order(body: PlaceOrderBody) -> Response:
    """Place an order: it, its items and its stock succeed together, or not at all."""
    products = [item.product_id for item in body.items]
    parameters = {
        "id": new_id(),
        "user_id": body.user_id,
        "external_id": body.external_id,
        "note": body.note,
        "products": products,
        "quantities": [item.quantity for item in body.items],
    }
    pool: AsyncConnectionPool = app.state.pool
    async with pool.connection() as connection:
        try:
            cursor = await connection.execute(PLACE, parameters, binary=True)
            rows = await cursor.fetchall()
        except psycopg.errors.NotNullViolation:
            known = await (await connection.execute(UNKNOWN, parameters)).fetchone()
            assert known is not None
            if not known[0] or known[1] < len(set(products)):
                raise HTTPException(422, "unknown user or product") from None
            raise HTTPException(409, "insufficient stock") from None
    return Response(msgspec.json.encode(_order(parameters, rows)), 201, media_type="application/json")


def _order(asked: dict[str, Any], rows: list[tuple[Any, ...]]) -> dict[str, object]:
    currency: str = rows[0][0]
    total: str = rows[0][1]
    placed_at: datetime = rows[0][2]
    at = rfc3339(placed_at)
    names = ("line", "product_id", "sku", "name", "quantity", "unit_price", "amount")
    return {
        "id": asked["id"],
        "external_id": asked["external_id"],
        "user_id": asked["user_id"],
        "status": "placed",
        "currency": currency,
        "total": total,
        "cancelled_total": "0.00",
        "items": [{**dict(zip(names, row[3:], strict=True)), "cancelled_quantity": 0} for row in rows],
        "note": asked["note"],
        "cancel_reason": None,
        "placed_at": at,
        "cancelled_at": None,
        "version": 1,
        "updated_at": at,
    }
