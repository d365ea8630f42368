"""As many clients as a process takes, each within the limits, do not fill its memory together."""

import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from eventlog.ids import new_id
from service.http.connections import HEAD_BYTES_MAX
from tests import loopback
from tests.builders import wait_until
from tests.query.rows import Rows
from tests.system.stack import Stack
from tests.system.weighing import resident_bytes

LARGE_ORDERS, WAITING, LINES = 120, 250, 1_000
CONNECTIONS = 300
PEAK_BYTES_MAX = 250 * 1024**2
# Of an idle connection: less than half of the largest head.
IDLE_BYTES_MAX = HEAD_BYTES_MAX // 2


def large_orders(rows: Rows, number: int) -> list[str]:
    """Insert orders of the largest size: 1 MB of JSON each."""
    product = rows.product()
    orders = [rows.order(lines=(), line_count=LINES) for _ in range(number)]
    rows.execute(
        "INSERT INTO shop.order_items SELECT id, line, '" + product + "', 'SKU', repeat(chr(128512), 200), 1, 0, 2.50, "
        f"2.50, placed_at FROM shop.orders, generate_series(1, {LINES}) AS line"
    )
    return orders


def check_peak(stack: Stack) -> None:
    peak = resident_bytes(stack.apis[0].pid, "VmHWM")
    print(f"{peak / 1024**2:.0f} MiB")
    assert peak < PEAK_BYTES_MAX


def test_many_large_orders_at_once_do_not_fill_the_memory(tmp_path: Path) -> None:
    with Stack(tmp_path, workers=0) as stack:
        orders = large_orders(Rows(stack.database_url), LARGE_ORDERS)
        with ThreadPoolExecutor(LARGE_ORDERS) as pool:
            answers = list(pool.map(lambda it: loopback.get(f"{stack.urls[0]}/orders/{it}", timeout=60), orders))
        assert Counter(it.status_code for it in answers) == {200: LARGE_ORDERS}
        assert [it.json()["id"] for it in answers] == orders
        check_peak(stack)


def test_many_that_wait_for_large_orders_do_not_fill_the_memory(tmp_path: Path) -> None:
    ahead = {"Sync-Token": "1", "Prefer": "wait=30"}
    with Stack(tmp_path, workers=0) as stack, ThreadPoolExecutor(WAITING) as pool:
        rows, url = Rows(stack.database_url), stack.urls[0]
        orders = large_orders(rows, WAITING)

        def under_way() -> float:
            return float(re.findall(r"\norders_http_requests_in_flight (.*)", metrics.get("/metrics").text)[0])

        asked = [pool.submit(loopback.get, f"{url}/orders/{it}", headers=ahead, timeout=60) for it in orders]
        with loopback.Client(base_url=url, timeout=60) as metrics:
            wait_until(lambda: under_way() >= WAITING, 20, "all have asked")
        # Look-ups are made in the order in which they came: now all have been made, and were too early.
        assert loopback.get(f"{url}/orders/{new_id()}", timeout=60).status_code == 404
        rows.reach(1)
        answers = [it.result() for it in asked]
        assert Counter(it.status_code for it in answers) == {200: WAITING}
        assert [it.json()["id"] for it in answers] == orders
        check_peak(stack)


def test_idle_connections_keep_no_heads(tmp_path: Path) -> None:
    with Stack(tmp_path, workers=0) as stack, ExitStack() as closing:
        cookies = "".join(f"Cookie: c{number}={'x' * 330}\r\n" for number in range(88))
        request = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n{cookies}\r\n".encode()
        assert HEAD_BYTES_MAX * 0.9 < len(request) < HEAD_BYTES_MAX
        before, address = resident_bytes(stack.apis[0].pid), stack.urls[0].removeprefix("http://").split(":")
        for _ in range(CONNECTIONS):
            client = closing.enter_context(socket.create_connection((address[0], int(address[1])), timeout=20))
            client.sendall(request)
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
        each = (resident_bytes(stack.apis[0].pid) - before) // CONNECTIONS
        print(f"{each} bytes a connection")
        assert each < IDLE_BYTES_MAX
