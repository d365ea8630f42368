"""The API frees a refused request at once: it seldom collects garbage, so what waits for that fills the memory."""

import gc
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection

import pytest

from tests.served import served

WARM, REFUSED, LINES = 5, 15, 1_000
# An order of this size that stays takes more than 700,000 bytes.
LEFT_BYTES_MAX = 40_000


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"sku": "no such product", "quantity": 1}, "unknown-product"),
        ({"sku": "no such product", "quantity": 0}, "validation-error"),
    ],
)
def test_a_large_order_that_is_refused_leaves_nothing_in_memory(
    module_database_url: str, item: dict[str, object], code: str
) -> None:
    items = [item | {"sku": f"{item['sku']} {number}"} for number in range(LINES)]
    with served(module_database_url) as shop:
        order = json.dumps({"user_id": shop.user()["id"], "items": items})
        url = shop.http.base_url
        # A client that leaves no garbage itself: it is in the same process.
        with closing(HTTPConnection(url.host, url.port or 80)) as client, no_garbage_collection():
            sizes = []
            for _ in range(WARM + REFUSED):
                client.request("POST", "/orders", order, {"Content-Type": "application/json"})
                assert json.loads(client.getresponse().read())["code"] == code
                sizes.append(tracemalloc.get_traced_memory()[0])
    left = (sizes[-1] - sizes[WARM - 1]) / REFUSED
    print(f"{left:,.0f} bytes an order")
    assert left < LEFT_BYTES_MAX
