"""Logs of any size, written by SQL in minutes instead of by the service in hours."""

from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import ClientCursor

from bench.stage import execute
from command.states import KINDS

HERE = Path(__file__).resolve().parent
USERS = 1_000
PRODUCTS = 2_000
SETUP_EVENTS = USERS + 2 * PRODUCTS
# Of 33 orders one is cancelled: 33 x 3 events and 3 more.
EVENTS_AN_ORDER = 3 + 3 / 33

_LONG_STREAM = """
WITH product AS (
    SELECT uuidv7()::text AS id
), head AS (
    UPDATE log.head SET position = position + %(length)s, recorded_at = now()
    RETURNING position - %(length)s AS base
), events AS (
    INSERT INTO log.events (position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata)
    SELECT base + n, 'product-' || id, n, CASE n WHEN 1 THEN 'ProductAdded' ELSE 'StockAdjusted' END, 1, now(), now(),
           CASE n
               WHEN 1 THEN '{"sku":"LONG-%(length)s","name":"Long","price":"1.50","currency":"EUR","stock_kept":true}'
               ELSE '{"delta":1,"reason":"delivery","stock_after":' || n - 1 || '}'
           END::json,
           '{"actor":{"kind":"key","id":"bench"},"command_id":"01890a5d-ac96-774b-bcce-b302099a8057"}'
    FROM head, product, generate_series(1, %(length)s) AS n
), snapshot AS (
    INSERT INTO log.snapshots (stream, version, shape, state)
    SELECT 'product-' || id, version, %(shape)s,
           ('{"id":"' || id || '","sku":"LONG-%(length)s","name":"Long","price":"1.50","currency":"EUR","stock":'
            || version - 1 || ',"discontinued":false,"created_at":"2026-01-01T00:00:00.000000Z",'
            || '"updated_at":"2026-01-01T00:00:00.000000Z"}')::json
    FROM product, (SELECT %(length)s / 32 * 32 AS version) AS last WHERE version > 0
)
SELECT 'product-' || id FROM product
"""


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids, one a line, in files that wrk's scripts read."""

    users: Path
    products: Path
    hot: Path


def write_history(url: str, orders: int, users: int = USERS, products: int = PRODUCTS) -> int:
    """Fill an empty log with users, products and orders. Returns the number of events."""
    script = (HERE / "history.sql").read_bytes()
    with psycopg.connect(url, cursor_factory=ClientCursor) as connection:
        shape = KINDS["product"].shape
        connection.execute(script, {"users": users, "products": products, "orders": orders, "shape": shape})
    # What autovacuum would do sooner or later, in the middle of a measurement.
    execute(url, "VACUUM (ANALYZE) log.events")
    return head(url)


def write_events(url: str, events: int) -> int:
    """The same, by the number of events (as near as orders allow)."""
    return write_history(url, round(max(0, events - SETUP_EVENTS) / EVENTS_AN_ORDER))


def add_long_stream(url: str, length: int) -> str:
    """Append a product whose stream has `length` events. Returns the stream."""
    with psycopg.connect(url, cursor_factory=ClientCursor) as connection:
        row = connection.execute(_LONG_STREAM.encode(), {"length": length, "shape": KINDS["product"].shape}).fetchone()
    assert row is not None
    return str(row[0])


def head(url: str) -> int:
    return int(execute(url, "SELECT position FROM log.head")[0][0])


def write_ids(url: str, directory: Path, name: str, users: int = USERS, products: int = PRODUCTS) -> Ids:
    """Write the ids of a history's users and products down."""
    found: dict[str, list[str]] = {"user": [], "product": []}
    first = "SELECT stream FROM log.events WHERE position <= %(last)s AND version = 1 ORDER BY position"
    for (stream,) in execute(url, first, {"last": users + 2 * products}):
        kind, _, id_ = stream.partition("-")
        found[kind].append(id_)
    return ids_in(directory, name, found["user"], found["product"])


def ids_in(directory: Path, name: str, users: list[str], products: list[str]) -> Ids:
    """Files with these ids; the hot pair is the first two products."""
    ids = Ids(*(directory / f"{name}-{kind}.txt" for kind in ("users", "products", "hot")))
    for path, lines in ((ids.users, users), (ids.products, products), (ids.hot, products[:2])):
        path.write_text("".join(f"{line}\n" for line in lines))
    return ids
