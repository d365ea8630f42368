"""Products and their stock, as rows."""

from collections.abc import Mapping
from typing import Any

from eventlog.events import (
    ProductAdded,
    ProductChanged,
    ProductDiscontinued,
    ProductRepriced,
    StockAdjusted,
    StockReleased,
    StockReserved,
)
from projector.projection import Envelope, Handler
from projector.rows import Rows
from readmodel.shop import Product


def added(event: ProductAdded, of: Envelope, rows: Rows) -> None:
    rows.insert(
        Product,
        {
            "id": of.id,
            "sku": event.sku,
            "name": event.name,
            "price": event.price,
            "currency": event.currency,
            "stock": 0 if event.stock_kept else None,
            "discontinued": False,
            "version": of.version,
            "created_at": of.at,
            "updated_at": of.at,
        },
    )


def renamed(event: ProductChanged, of: Envelope, rows: Rows) -> None:
    rows.set(Product, of.id, {"version": of.version, "updated_at": of.at, "name": event.name})


def repriced(event: ProductRepriced, of: Envelope, rows: Rows) -> None:
    rows.set(Product, of.id, {"version": of.version, "updated_at": of.at, "price": event.price})


def discontinued(event: ProductDiscontinued, of: Envelope, rows: Rows) -> None:
    rows.set(Product, of.id, {"version": of.version, "updated_at": of.at, "discontinued": True})


def stock_changed(event: StockAdjusted | StockReserved | StockReleased, of: Envelope, rows: Rows) -> None:
    rows.set(Product, of.id, {"version": of.version, "updated_at": of.at, "stock": event.stock_after})


ON: Mapping[type[Any], Handler] = {
    ProductAdded: added,
    ProductChanged: renamed,
    ProductRepriced: repriced,
    ProductDiscontinued: discontinued,
    StockAdjusted: stock_changed,
    StockReserved: stock_changed,
    StockReleased: stock_changed,
}
