"""Imports real data and compares the log and the read tables with what is known of it, to the last decimal.

    python -m bench.real_year FOLDER --currency GBP

FOLDER holds users, products and commands as docs/importing.md has them, and expected.json with their results.
Exit code 1 if anything differs. The server is an embedded one of its own, as durable as any.
"""

import argparse
import asyncio
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from command.importing import files
from command.importing.rejects import Rejects
from command.importing.run import Summary, import_files
from projector.connecting import connect
from projector.loop import Loop
from projector.projections.shop import SHOP
from service.embedded import PostgresServer
from service.migrate import upgrade

PROJECT_EVENTS = 10_000

# Each with what it is called in expected.json, where the log has it, and where the read tables have it.
CHECKS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "orders": (
        ("place_order",),
        "SELECT count(*) FROM log.events WHERE type = 'OrderPlaced'",
        "SELECT count(*) FROM shop.orders",
    ),
    "lines": (
        ("lines_place_order",),
        "SELECT sum(json_array_length(data->'items')) FROM log.events WHERE type = 'OrderPlaced'",
        "SELECT count(*) FROM shop.order_items",
    ),
    "pieces ordered": (
        ("units_ordered",),
        """SELECT sum((item->>'quantity')::bigint) FROM log.events, json_array_elements(data->'items') AS item
        WHERE type = 'OrderPlaced'""",
        "SELECT sum(quantity) FROM shop.order_items",
    ),
    "pieces returned": (
        ("units_returned",),
        """SELECT sum((line->>'quantity')::bigint) FROM log.events, json_array_elements(data->'lines') AS line
        WHERE type IN ('OrderCancelled', 'OrderLinesCancelled')""",
        "SELECT sum(cancelled_quantity) FROM shop.order_items",
    ),
    "gross": (
        ("money", "gross"),
        "SELECT sum((data->>'total')::numeric) FROM log.events WHERE type = 'OrderPlaced'",
        "SELECT sum(total) FROM shop.orders",
    ),
    "whole cancellations": (
        ("money", "cancelled_orders"),
        "SELECT sum((data->>'amount')::numeric) FROM log.events WHERE data->>'external_id' = ANY(%(whole)s)",
        "SELECT sum(total) FROM shop.orders WHERE external_id = ANY(%(cancelled)s)",
    ),
    # What a credit note says of prices is not looked at: what is returned is worth what it was sold for.
    "partial, at the sold price": (
        (),
        """SELECT sum((data->>'amount')::numeric) FROM log.events
        WHERE type LIKE 'Order%%Cancelled' AND data->>'external_id' <> ALL(%(whole)s)""",
        "SELECT sum(cancelled_total) FROM shop.orders WHERE external_id <> ALL(%(cancelled)s)",
    ),
    "users": (
        ("users",),
        "SELECT count(*) FROM log.events WHERE type = 'UserRegistered'",
        "SELECT count(*) FROM shop.users",
    ),
    "products with a price": (
        ("products_taken",),
        "SELECT count(*) FROM log.events WHERE type = 'ProductAdded'",
        "SELECT count(*) FROM shop.products",
    ),
}
for status, event in (
    ("placed", "OrderPlaced"),
    ("partially_cancelled", "OrderLinesCancelled"),
    ("cancelled", "OrderCancelled"),
):
    CHECKS[f"orders {status}"] = (
        ("statuses", status),
        """WITH ended AS (
            SELECT DISTINCT ON (stream) type FROM log.events WHERE stream LIKE 'order-%%' ORDER BY stream, version DESC
        ) SELECT count(*) FROM ended WHERE type = 'EVENT'""".replace("EVENT", event),
        "SELECT count(*) FROM shop.orders WHERE status = 'STATUS'".replace("STATUS", status),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--currency", default="GBP")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orders-real-year-") as directory:
        place = Path(directory)
        place.chmod(0o755)  # as root the server runs as another user, who must get through
        server = PostgresServer(place)
        url = server.start()
        try:
            upgrade(url)
            return run(url, arguments.folder, arguments.currency, place / "rejects.jsonl")
        finally:
            server.stop()


def run(url: str, folder: Path, currency: str, rejects: Path) -> int:
    """Import twice, project, compare. Returns the exit code."""
    summary, seconds = load(url, folder, currency, rejects)
    rate = f"{summary.total / seconds:,.0f} rows/s, {summary.events / seconds:,.0f} events/s"
    print(f"imported in {seconds:.1f} s: {rate}; {count(summary)}")
    again, seconds_again = load(url, folder, currency, rejects)
    print(f"imported again in {seconds_again:.1f} s: {count(again)}")
    with connect(url) as connection:
        started = time.perf_counter()
        projection = Loop(SHOP)
        while (progress := projection.project(connection, PROJECT_EVENTS)).lag:
            pass
        print(f"projected {progress.position} events in {time.perf_counter() - started:.1f} s")
        differing = compare(connection, folder)
    differing += summary.total != again.total or again.accepted != 0
    return 1 if differing else 0


def load(url: str, folder: Path, currency: str, rejects: Path) -> tuple[Summary, float]:
    started = time.perf_counter()
    with Rejects(rejects) as into:
        summary = asyncio.run(import_files(url, files.find(folder), into, currency))
    return summary, time.perf_counter() - started


def count(summary: Summary) -> str:
    refused = summary.refused.total()
    return (
        f"accepted {summary.accepted}, already there {summary.already_there}, refused {refused}, total {summary.total}"
    )


def compare(connection: psycopg.Connection[Any], folder: Path) -> int:
    """Print every number three times: as expected, of the log, of the read tables. Returns how many differ."""
    expected = expectations(folder)
    whole = [row for row in rows(folder / "commands.jsonl.gz") if row["kind"] == "cancel_order"]
    parameters = {"whole": [it["order"] for it in whole], "cancelled": [it["target"] for it in whole]}
    differing = 0
    print(f"{'':<28}{'expected':>16}{'log':>16}{'read tables':>16}")
    for name, (path, *queries) in CHECKS.items():
        wanted = look_up(expected, path)
        found = [Decimal(value or 0) for query in queries for (value,) in connection.execute(query, parameters)]
        differs = wanted is not None and any(each != Decimal(wanted) for each in found)
        differing += differs
        shown = "".join(f"{each:>16}" for each in found)
        print(f"{name:<28}{'not known' if wanted is None else wanted:>16}{shown}{'   DIFFERS' if differs else ''}")
    return differing


def expectations(folder: Path) -> dict[str, Any]:
    """expected.json, with its statuses by our names for them, and the products that have a price."""
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    expected |= expected["counts"]
    if status := expected.get("order_status"):
        expected["statuses"] = {
            "placed": status["placed"],
            "partially_cancelled": status["partly_returned"],
            "cancelled": status["cancelled"] + status["returned"],
        }
    expected["products_taken"] = sum(row["unit_price"] is not None for row in rows(folder / "products.jsonl.gz"))
    return expected


def look_up(expected: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        expected = expected.get(name) if expected else None
    return expected if path else None


def rows(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rt") as lines:
        yield from map(json.loads, lines)


if __name__ == "__main__":
    sys.exit(main())
