"""What FastAPI itself allows: the real service's body is read, an answer of its size is sent, and nothing is done.

No service on this framework, with these bodies, is faster than this one.
"""

from fastapi import FastAPI
from starlette.responses import Response

from command.orders import PlaceOrderBody
from eventlog.codec import encode
from eventlog.ids import new_id

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
AT = "2026-01-02T03:04:05.678901Z"


def _item(line: int) -> dict[str, object]:
    return {
        "line": line,
        "product_id": ID,
        "sku": "SKU-000001",
        "name": "Product 000001",
        "quantity": 1,
        "cancelled_quantity": 0,
        "unit_price": "100.50",
        "amount": "100.50",
    }


# As long as what the real service answers to the orders of bench/wrk/place.lua, give or take a digit.
ORDER = encode(
    {
        "id": ID,
        "external_id": None,
        "user_id": ID,
        "status": "placed",
        "currency": "EUR",
        "total": "201.00",
        "cancelled_total": "0.00",
        "items": [_item(1), _item(2)],
        "note": None,
        "cancel_reason": None,
        "placed_at": AT,
        "cancelled_at": None,
        "version": 1,
        "updated_at": AT,
    }
)

app = FastAPI(title="nothing")


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/orders", status_code=201)
async def place_order(body: PlaceOrderBody) -> Response:
    headers = {"Sync-Token": "1234567", "Command-Id": new_id(), "ETag": '"1"', "Location": f"/orders/{body.user_id}"}
    return Response(ORDER, 201, headers, "application/json")


@app.get("/orders/{order_id}")
async def get_order(order_id: str) -> Response:
    headers = {"Sync-Token": "1234567", "ETag": '"1"'}
    return Response(ORDER, 200, headers, "application/json")
