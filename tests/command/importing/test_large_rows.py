"""Large orders, and returns that name many of them, are imported in little memory and delay no one."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.command.importing.conftest import Shop, waiting_for_the_head
from tests.system.stack import SURROUNDINGS
from tests.system.weighing import resident_bytes

ORDERS, LINES = 40, 1_000
# Characters of four bytes: a name has as many bytes as a name can have.
NAME = "\N{TEACUP WITHOUT HANDLE}" * 200
# Enough that the orders come to a version at which streams have snapshots.
RETURNS = 8
PEAK_BYTES_MAX = 180 * 1024**2
HEAD_SECONDS_MAX = 1.0
WAITING_ORDERS, HELD_SECONDS = 300, 4  # less than a batch may take


def peak_of_import(database_url: str, path: Path, rows: list[dict[str, object]]) -> int:
    """Import the rows, all of which must be accepted; returns the most bytes of memory that the import ever had."""
    path.write_text("\n".join(map(json.dumps, rows)))
    command = [sys.executable, "-P", "-m", "service.cli", "import", str(path), "--currency", "EUR", "--strict"]
    process = subprocess.Popen(command, env=SURROUNDINGS | {"DATABASE_URL": database_url}, cwd=path.parent)
    peak = 0
    while process.poll() is None:
        with suppress(OSError, AssertionError):  # it may end at any time
            peak = max(peak, resident_bytes(process.pid, "VmHWM"))
        time.sleep(0.02)  # the kernel keeps the peak, so the looks may be rare
    assert process.returncode == 0
    return peak


def test_large_orders_that_wait_for_the_head_take_little_memory(database_url: str, tmp_path: Path) -> None:
    """Rows are read while the writer waits. The order is there already, so that the import ends soon afterwards."""
    skus, at = [f"sku-{number}-{'x' * 80}" for number in range(LINES)], "2026-11-01T08:00:00Z"
    shop: list[dict[str, object]] = [{"id": "ada"}]
    shop += [{"sku": it, "description": "Tea", "unit_price": "2.50", "min_initial_stock": 1_000} for it in skus]
    lines = [{"sku": it, "quantity": 2, "unit_price": "2.50"} for it in skus]
    order: dict[str, object] = {"kind": "place_order", "at": at, "order": "T1", "customer": "ada", "lines": lines}
    peak_of_import(database_url, tmp_path / "shop.jsonl", [*shop, order])
    with ThreadPoolExecutor() as pool:
        with psycopg.connect(database_url) as connection:
            connection.execute("SELECT FROM log.head FOR UPDATE")
            peak = pool.submit(peak_of_import, database_url, tmp_path / "orders.jsonl", [order] * WAITING_ORDERS)
            time.sleep(HELD_SECONDS)  # the import reads meanwhile
        print(f"{peak.result() / 1024**2:.0f} MiB")
    assert peak.result() < PEAK_BYTES_MAX


def test_returns_of_many_large_orders_take_little_memory(database_url: str, tmp_path: Path) -> None:
    skus, at = [f"sku-{number}" for number in range(LINES)], "2026-11-01T08:00:00Z"
    shop: list[dict[str, object]] = [{"id": "ada"}]
    shop += [{"sku": it, "description": NAME, "unit_price": "2.50", "min_initial_stock": 1_000} for it in skus]
    lines = [{"sku": it, "quantity": 2, "unit_price": "2.50"} for it in skus]
    orders = [f"T{number}" for number in range(ORDERS)]
    shop += [{"kind": "place_order", "at": at, "order": it, "customer": "ada", "lines": lines} for it in orders]
    peak_of_import(database_url, tmp_path / "shop.jsonl", shop)
    sources = [{"order": it, "quantity": 1} for it in orders]
    returns: list[dict[str, object]] = []
    for sku in skus[:RETURNS]:
        line = {"sku": sku, "quantity": ORDERS, "from": sources}
        returns.append({"kind": "return_items", "at": at, "order": f"R{sku}", "lines": [line]})
    peak = peak_of_import(database_url, tmp_path / "returns.jsonl", returns)
    print(f"{peak / 1024**2:.0f} MiB")
    assert peak < PEAK_BYTES_MAX


@pytest.mark.parametrize(("orders", "codes"), [(50, []), (100, ["return-too-large"])])
def test_a_return_of_many_large_orders_delays_no_one(shop: Shop, orders: int, codes: list[str]) -> None:
    """A return of 1,000 orders of 1,000 lines held the head for 5.5 seconds, and failed: so did each import of it."""
    skus, at = [f"sku-{number}" for number in range(LINES)], "2026-11-01T08:00:00Z"
    products = [{"sku": it, "description": NAME, "unit_price": 2, "kind": "fee"} for it in skus]
    lines = [{"sku": it, "quantity": 2, "unit_price": 2} for it in skus]
    placed = [
        {"kind": "place_order", "at": at, "order": f"T{number}", "customer": "ada", "lines": lines}
        for number in range(orders)
    ]
    shop.load(shop.file("shop.jsonl", {"id": "ada"}, *products, *placed))
    sources = [{"order": f"T{number}", "quantity": 1} for number in range(orders)]
    line = {"sku": "sku-7", "quantity": orders, "from": sources}
    returned = {"kind": "return_items", "at": at, "order": "R1", "lines": [line]}
    with waiting_for_the_head(shop.database_url) as waited:
        summary = shop.load(shop.file("returns.jsonl", returned))
    print(f"{max(waited):.2f} s")
    assert [it["code"] for it in shop.rejected] == codes
    assert summary.total == 1
    assert max(waited) < HEAD_SECONDS_MAX
