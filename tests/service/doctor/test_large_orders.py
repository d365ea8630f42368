"""The doctor examines orders of the largest size in time that grows with their lines, not with the square of them."""

import time

import psycopg

from service.doctor import examine
from tests.builders import Writing

LINES = 1_000
ORDERS = 20
# Quadratic checks take minutes.
SECONDS_MAX = 20.0


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
