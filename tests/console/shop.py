"""A shop whose texts are hostile: HTML, attributes of htmx, templates, right-to-left marks, very long words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from service.settings import Settings
from tests.builders import Writing
from tests.projecting import sweep
from tests.served import NO_REDIS, Shop, served_with

HOSTILE = (
    '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>"\'><b hx-get="/pwn" hx-trigger="load">x</b>'
    "{{ 7 * 7 }} \u202e\u2066right to left\u2069 " + "W" * 400
)


class Made(NamedTuple):
    """The served shop, and what was made in it."""

    shop: Shop
    order: str
    product: str
    user: str
    large: str


@contextmanager
def hostile_shop(database_url: str) -> Iterator[Made]:
    with Writing(database_url) as writing:
        writing.history(orders=8)
        user = writing.user(name=HOSTILE[:200], external_id=HOSTILE[:100])
        product = writing.product(sku=HOSTILE[:100], name=HOSTILE[:200])
        order = writing.order(user, {product: 2}, external_id=HOSTILE[-100:], note=HOSTILE[:1000])
        writing.cancel(order, {1: 1}, HOSTILE[:1000])
        writing.adjust_stock(product, -1, HOSTILE[:1000])
        writing.change_user(user, HOSTILE[1:200], "other@example.org")
        large = writing.order(user, {writing.product(): 1 for _ in range(120)}, note="a large one")
    sweep(database_url)
    settings = Settings(
        database_url=database_url, redis_url=NO_REDIS, allow_unsafe_database=True, console=True, no_auth=True
    )
    with served_with(settings) as shop:
        yield Made(shop, order, product, user, large)


def paths(made: Made) -> list[str]:
    """Every page, with what it shows of the shop."""
    last = made.shop.head()
    return [
        "/",
        "/?range=7+d",
        "/events",
        "/events?type=OrderPlaced&from=2026-01-01",
        "/events?from=nonsense",
        f"/events?stream=order-{made.order}",
        *(f"/events/{position}" for position in range(last - 6, last + 1)),
        f"/orders/{made.order}",
        f"/orders/{made.order}?version=1",
        f"/orders/{made.order}?as_of=2001-01-01",
        f"/orders/{made.large}",
        f"/products/{made.product}",
        f"/products/{made.product}?version=2",
        f"/users/{made.user}?version=1",
        "/find?q=nothing",
        "/projections",
        "/parked",
        "/doctor",
        "/configuration",
        "/nowhere",
    ]
