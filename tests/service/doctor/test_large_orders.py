"""The doctor examines orders of the largest size in time that grows with their lines, not with the square of them.

And in memory that does not grow with them.
"""

import os
import time
from pathlib import Path

import psycopg

from service.doctor import examine
from tests.builders import Writing
from tests.system.weighing import resident_bytes

LINES = 1_000
ORDERS = 20
# Quadratic checks take minutes.
SECONDS_MAX = 20.0
# The state of the largest order is a megabyte. Read beside each of its cancellations it would take 300 MiB.
CANCELLATIONS = 300
GROWTH_BYTES_MAX = 128 * 1024 * 1024


def test_orders_of_a_thousand_lines_are_checked_in_linear_time(database_url: str) -> None:
    with Writing(database_url) as writing:
        user = writing.user()
        products = [writing.product(name=f"{number:0>200}", stock=None) for number in range(LINES)]
        for _ in range(ORDERS):
            writing.cancel(writing.order(user, dict.fromkeys(products, 2)), dict.fromkeys(range(1, LINES + 1), 1))
    with psycopg.connect(database_url, autocommit=True) as connection:
        began = time.monotonic()
        examination = examine(connection)
        seconds = time.monotonic() - began
    assert examination.not_checked == {}
    assert {name for name, found in examination.findings.items() if found} <= {
        "durability",
        "left open",
        "checkpoint",
        "projections",
    }
    assert seconds < SECONDS_MAX, sorted(examination.took.items(), key=lambda it: -it[1])[:6]


def test_a_large_order_that_was_cancelled_in_many_steps_is_checked_in_little_memory(database_url: str) -> None:
    with Writing(database_url) as writing:
        user = writing.user()
        products = [writing.product(name="\U0001f375" * 200, stock=None) for _ in range(LINES)]
        order = writing.order(user, dict.fromkeys(products, 1))
        for line in range(1, CANCELLATIONS + 1):
            writing.cancel(order, {line: 1})
    with psycopg.connect(database_url, autocommit=True) as connection:
        before = resident_bytes(os.getpid())
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        assert examine(connection).findings["snapshots"] == []
        assert resident_bytes(os.getpid(), "VmHWM") - before < GROWTH_BYTES_MAX
